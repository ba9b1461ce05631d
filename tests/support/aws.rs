//! Messages of AWS's event stream with right checksums, for everything that tests what reads them: the codec's own tests,
//! these, and the fuzz targets, which each take this file in.

/// A message with these headers, all strings.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in headers {
        fields.push(name.len() as u8);
        fields.extend_from_slice(name.as_bytes());
        fields.push(7);
        fields.extend_from_slice(&(value.len() as u16).to_be_bytes());
        fields.extend_from_slice(value.as_bytes());
    }
    framed(&fields, payload)
}

/// A message with these header bytes.
pub fn framed(fields: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend_from_slice(&((16 + fields.len() + payload.len()) as u32).to_be_bytes());
    message.extend_from_slice(&(fields.len() as u32).to_be_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(fields);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}
