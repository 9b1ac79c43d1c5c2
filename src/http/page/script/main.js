// Puts it together: what is asked how often, the one selected account, and signing in and out.

function select(name) {
  selected = name;
  find("#selection").hidden = !name;
  setText(find("#selection span"), name ? `Subscriptions and events of ${name} only.` : "");
  history.replaceState(null, "", name ? `#account=${encodeURIComponent(name)}` : location.pathname);
  subscriptions.restart();
  restartFeed();
}

document.addEventListener("click", ({ target }) => {
  const name = target.dataset?.account;
  if (name) select(name);
});
find("#selection button").addEventListener("click", () => select(null));

let started = false;
function start() {
  if (started) return;
  started = true;
  find("#app").hidden = false;
  repeat(2000, showSummary);
  repeat(2000, accounts.show);
  repeat(2000, showSinks);
  repeat(4000, subscriptions.show);
  repeat(10_000, showHistory);
  setInterval(showFreshness, 1000);
  setInterval(() => feed.waiting.length && showEntries(), 250);
  const linked = /^#account=(.+)$/.exec(location.hash);
  linked ? select(decodeURIComponent(linked[1])) : follow();
}

// What was shown with a token goes with the page.
function signOut() {
  sessionStorage.removeItem(KEY);
  location.reload();
}
refused = signOut;

function askForToken() {
  const form = find("#sign-in");
  form.hidden = false;
  find("#token").focus();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, find("#token").value.trim());
    const response = await ask("/api/v1/summary").catch(() => null);
    if (response?.ok) {
      form.hidden = true;
      find("#token").value = "";
      return signedIn();
    }
    sessionStorage.removeItem(KEY);
    setText(find("#refusal"), response ? "This is not the token." : "The daemon does not answer.");
  });
}

function signedIn() {
  find("#sign-out").hidden = !sessionStorage.getItem(KEY);
  start();
}
find("#sign-out").addEventListener("click", signOut);

if ("locked" in document.documentElement.dataset && !sessionStorage.getItem(KEY)) askForToken();
else signedIn();
