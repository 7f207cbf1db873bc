/* Questions to the API: the key goes along, short waits are waited, and failures say what to do. */
import { askForKey, forgetKey, keyNow } from "./key.js";

const PATIENCE_MS = 20_000;
const TRIES = 3;
const LONGEST_WAIT_S = 8;

/* The server answered, and said why not. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `The server answered with status ${status}.`);
    Object.assign(this, { status, title: problem.title, near: problem.near, requestId: problem.request_id });
  }
}

/* Nobody answered. */
export class Unreachable extends Error {}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function send(path, signal) {
  const key = keyNow();
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const options = {
    headers: { Accept: "application/json", ...(key ? { "X-API-Key": key } : {}) },
    credentials: "omit",
    signal: signal ? AbortSignal.any([signal, patience]) : patience,
  };
  try {
    const answer = await fetch(`api/v4/${path}`, options);
    return { answer, body: await answer.json().catch(() => ({})), key };
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("The server does not answer.", { cause: error });
  }
}

/* The body of an answer; `patient: false` leaves waiting to the caller. */
export async function get(path, { signal, patient = true } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const { answer, body, key } = await send(path, signal);
    if (answer.ok) return body;
    if (answer.status === 401) {
      if (key && key === keyNow()) forgetKey();
      if (!keyNow()) await askForKey(key ? body.detail : "");
      signal?.throwIfAborted();
      continue;
    }
    const wait = Number(answer.headers.get("Retry-After") || Number.NaN);
    if (!patient || attempt === TRIES || !(wait <= LONGEST_WAIT_S)) throw new Refused(answer.status, body);
    await pause(wait * (1 + Math.random() / 4));
    signal?.throwIfAborted();
  }
}
