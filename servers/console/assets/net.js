// Calls to the console's own server, which adds the token. A 401 anywhere leads back to the sign-in.
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail || problem?.title || `The server answered ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

let onUnsigned = () => {};
export const whenUnsigned = (fn) => (onUnsigned = fn);

export async function call(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refused(0, { detail: "The console's server cannot be reached. Is it still running?" });
  }
  const text = await answer.text();
  let json = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    /* an answer that is not JSON is only shown by its status */
  }
  if (answer.ok) return json;
  if (answer.status === 401 && path !== "/session") onUnsigned();
  throw new Refused(answer.status, json);
}

export const get = (path) => call("GET", path);
