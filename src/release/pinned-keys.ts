/** SPKI PEMs of the release keys this build trusts: the current one and the next. None until the first release. */
export const RELEASE_KEYS: readonly string[] = [];
