// Random numbers that a seed repeats (xorshift32).

export function random(seed) {
  let state = seed >>> 0 || 1;
  // An integer from 0 to below - 1.
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

// `bytes` in pieces of random size, 1 to `longest`.
export function* pieces(bytes, next, longest) {
  for (let from = 0; from < bytes.length;) {
    const to = from + 1 + next(longest);
    yield bytes.subarray(from, to);
    from = to;
  }
}
