// Asking the server. Every failure is an Error whose message is the server's one line.

/** What the server answered, as JSON, or as it is with `as: "response"`. */
export async function ask(address, { fields = null, method = fields ? "POST" : "GET", as = "json", signal } = {}) {
  let response;
  try {
    response = await fetch(address, { method, body: fields ? form(fields) : undefined, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is it still running?");
  }
  if (response.status === 401) location.reload(); // the server wants a login: it answers the page with its form
  if (!response.ok) {
    const failure = new Error(await detailOf(response));
    failure.status = response.status;
    failure.retryAfter = Number(response.headers.get("Retry-After")) || 0;
    throw failure;
  }
  return as === "json" ? response.json() : response;
}

/** As `ask`, and again while the server is full. */
export async function askPatiently(address, options, tries = 20) {
  for (;;) {
    try {
      return await ask(address, options);
    } catch (error) {
      if (error.status !== 503 || --tries <= 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || 1)));
      options.signal?.throwIfAborted();
    }
  }
}

/** Hands an answer to the browser's downloads; its address, to offer it again. */
export async function save(response) {
  const name = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "boxes";
  const address = URL.createObjectURL(await response.blob());
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  return { address, name };
}

function form(fields) {
  const data = new FormData();
  for (const [key, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one instanceof File) data.append(key, one, one.pathBelow || one.webkitRelativePath || one.name);
      else if (one !== null && one !== undefined && one !== "") data.append(key, String(one));
    }
  }
  return data;
}

async function detailOf(response) {
  try {
    return (await response.json()).detail;
  } catch {
    return `The server answered ${response.status} ${response.statusText}`;
  }
}
