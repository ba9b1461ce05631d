//! AWS's binary event stream, as Bedrock sends it.

use crate::codec::aws_eventstream::AwsEventStream;

use super::Format;

/// `application/vnd.amazon.eventstream`.
pub static AWS_EVENTSTREAM: Format = Format {
    name: "aws-eventstream",
    doc: "AWS's binary event stream (Bedrock): checksums verified, exceptions are errors",
    media_types: &["application/vnd.amazon.eventstream"],
    decoder: |options| Box::new(AwsEventStream::new(options.limit)),
};
