/** The part of a stream this needs. `done` is called when the text has been handed to the kernel, or could not be. */
export interface EchoStream {
  write(text: string, done: (error?: Error | null) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

export interface ConsoleEcho {
  readonly write: (text: string) => void;
  /** Resolves once everything written has left, or after `ms`. */
  readonly settle: (ms: number) => Promise<void>;
}

const PENDING_CHARS_MAX = 262_144;

/**
 * Shows lines to whoever watches, and never makes the agent wait for them: a paused terminal or a full pipe costs the
 * lines beyond 256 Ki characters, which are counted and told; a closed one costs all.
 */
export function consoleEcho(stream: EchoStream): ConsoleEcho {
  const state = { pending: 0, dropped: 0, gone: false };
  let drained: (() => void) | null = null;
  stream.on("error", () => {
    state.gone = true; // nobody watches any more; the log file has every line
  });
  const send = (text: string): void => {
    state.pending += text.length;
    stream.write(text, (error) => {
      state.pending -= text.length;
      if (error) state.gone = true;
      if (state.pending === 0) drained?.();
    });
  };
  return {
    write: (text) => {
      if (state.gone) return;
      if (state.pending + text.length > PENDING_CHARS_MAX) {
        state.dropped += 1;
        return;
      }
      if (state.dropped > 0) send(`(${state.dropped} lines not shown; the log file has them)\n`);
      state.dropped = 0;
      send(text);
    },
    settle: async (ms) => {
      if (state.pending === 0 || state.gone) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      drained = resolve;
      const timer = setTimeout(resolve, ms);
      await promise;
      clearTimeout(timer);
    },
  };
}
