#!/usr/bin/env bash
# What the tests need beside Python packages: Chromium, which opens our pages, and Java, in which EPUBCheck is written.
# Installs them where that is allowed, and says how otherwise; tests that need Chromium fail without it, they are never
# skipped. EPUBCheck's are, where there is no Java.
set -euo pipefail

have_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

have_browser >/dev/null 2>&1 && command -v java >/dev/null && exit 0

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

if command -v apt-get >/dev/null; then
    echo "installing chromium and a Java runtime with apt-get ..."
    as_root apt-get -qq update || true
    for package in chromium default-jre-headless; do
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package" >/dev/null || true
    done
elif command -v brew >/dev/null; then
    echo "installing chromium with brew ..."
    brew install --quiet --cask chromium || true
fi

have_browser >/dev/null 2>&1 && exit 0
# Playwright's own download, for systems where a package cannot be installed
.venv/bin/playwright install chromium && exit 0
echo "The tests need Chromium and it could not be installed: install a package named chromium, then run make test again." >&2
exit 1
