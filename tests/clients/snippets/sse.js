// The name and the data of one event, given as text without its blank line; undefined if it has no data.
export function eventOf(block) {
  const values = (field) =>
    block
      .split("\n")
      .filter((line) => line.startsWith(`${field}:`))
      .map((line) => line.slice(field.length + 1).replace(/^ /, ""));
  const data = values("data");
  return data.length ? { name: values("event").pop(), data: data.join("\n") } : undefined;
}
