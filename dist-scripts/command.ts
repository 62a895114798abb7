// Running other programs from the build scripts.

export interface CommandResult {
  /** Exit status; 128 + signal number when a signal ended it; 127 when it could not be started. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type Environment = Record<string, string | undefined>;

/** Runs `argv` to its end and captures what it says. Never throws. */
export function capture(argv: string[], options: { cwd?: string; env?: Environment } = {}): CommandResult {
  try {
    const child = Bun.spawnSync({
      cmd: argv,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: options.env ?? process.env,
    });
    return {
      status: child.exitCode ?? 128,
      stdout: child.stdout.toString(),
      stderr: child.stderr.toString(),
    };
  } catch (error) {
    return { status: 127, stdout: "", stderr: String(error) };
  }
}

/** Runs `argv` with this process's streams and gives its exit status. */
export async function passThrough(argv: string[], env: Environment = process.env) {
  const child = Bun.spawn({ cmd: argv, stdin: "ignore", stdout: "inherit", stderr: "inherit", env });
  return await child.exited;
}
