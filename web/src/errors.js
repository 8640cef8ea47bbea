// SPDX-License-Identifier: Apache-2.0
// Errors with the names that the Python package gives them, and the same texts.

/** What jahp_status says, by its number. */
const NAMES = ["", "FormatError", "ModelError", "UnknownModel", "UnsupportedImage", "UsageError", "OutOfMemory", "AbortError", "JahpError"];

export class JahpError extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }

  static ofStatus(status, message) {
    return new JahpError(NAMES[status] ?? "JahpError", message);
  }
}

/** Where a browser has no more workers or memory to give, or may not share it. */
export class NoThreads extends JahpError {
  constructor(why) { super("JahpError", `there are no threads: ${why}`); }
}

export const outOfMemory = what =>
  new JahpError("OutOfMemory", `there is no memory for ${what}: close other pages, or ask for a smaller picture`);
