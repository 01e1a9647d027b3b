#!/bin/bash
# Prints, for each file of src/, how many lines the tests reach and which ones they do not. Reads an LCOV file. The tests in src/
# count for nothing themselves: files of tests are left out, and files end where their `mod tests` begins.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

awk -v root="$root/" '
function first_line_of_tests(file,    line, number, is_marked, found) {
    found = 1e9
    number = 0
    while ((getline line < file) > 0) {
        number++
        if (line ~ /^#\[cfg\(test\)\]/) { is_marked = number }
        else if (is_marked && line ~ /^mod .*\{/) { found = is_marked; break }
        else if (line !~ /^#\[/) { is_marked = 0 }
    }
    close(file)
    return found
}
/^SF:/ {
    file = substr($0, 4)
    is_source = index(file, root "src/") == 1 && file !~ /_tests\.rs$|\/tests\//
    end = is_source ? first_line_of_tests(file) : 0
    file = substr(file, length(root) + 1)
}
/^DA:/ && is_source {
    split(substr($0, 4), pair, ",")
    if (pair[1] + 0 >= end) next
    lines[file]++
    if (pair[2] + 0 > 0) reached[file]++
    else missed[file] = missed[file] " " pair[1]
}
END {
    for (file in lines) {
        all += lines[file]
        hit += reached[file]
        printf "%6.1f %% of %4d  %s%s\n", 100 * reached[file] / lines[file], lines[file], file, missed[file] ? ":" missed[file] : "" | "sort -k5"
    }
    close("sort -k5")
    printf "%6.1f %% of %d lines\n", 100 * hit / all, all
}' "$1"
