#!/usr/bin/env bash
# Fetches the libraries from npm again and compares them with the files here. Needs npm.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
fetched=$(mktemp -d); trap 'rm -rf "$fetched"' EXIT
cd "$fetched"
get() { # package@version, file in it, name here, name of its licence here
  tarball=$(npm pack --silent "$1")
  mkdir "$3.d" && tar xzf "$tarball" -C "$3.d"
  cp "$3.d/package/$2" "$3"
  cp "$3.d/package/LICENSE" "$4"
}
get d3@7.9.2 dist/d3.min.js d3.min.js LICENSE.d3
get @observablehq/plot@0.6.17 dist/plot.umd.min.js plot.umd.min.js LICENSE.plot
sha256sum -c "$here/SHA256SUMS"
for file in d3.min.js plot.umd.min.js LICENSE.d3 LICENSE.plot; do cmp "$file" "$here/$file"; done
