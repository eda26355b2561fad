package sheet

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text returns the page as UTF-8 text in lines of at most 80 characters, unless a
// name or an address is longer. The caller clears it.
func (s *Sheet) Text() []byte {
	var page bytes.Buffer
	fmt.Fprintf(&page, "ZEROPASS  %s\n\n", strings.ToUpper(s.title()))
	for _, line := range wrap(purpose, 78) {
		fmt.Fprintln(&page, line)
	}
	page.WriteByte('\n')
	for _, paragraph := range s.alone() {
		for _, line := range wrap(paragraph, 76) {
			fmt.Fprintf(&page, "! %s\n", line)
		}
	}
	page.WriteByte('\n')
	for _, f := range s.facts() {
		for i, line := range wrap(printable(f.value), 64) {
			name := f.name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&page, "%-15s %s\n", name, line)
		}
	}
	words := strings.Fields(s.Words)
	writeWords(&page, "The words", words[:min(shareWords, len(words))], 1)
	if len(words) > shareWords {
		writeWords(&page, "The approval key, which goes on with the numbers", words[shareWords:], shareWords+1)
	}
	for _, way := range s.waysBack() {
		fmt.Fprintf(&page, "\n%s\n", way.title)
		for i, step := range way.lines {
			for j, line := range wrap(printable(step), 73) {
				if j == 0 {
					fmt.Fprintf(&page, "  %d. %s\n", i+1, line)
				} else {
					fmt.Fprintf(&page, "     %s\n", line)
				}
			}
		}
	}
	return page.Bytes()
}

func writeWords(page *bytes.Buffer, title string, words []string, first int) {
	const perRow = 4
	fmt.Fprintf(page, "\n%s\n", title)
	for i, word := range words {
		if i%perRow == 0 {
			page.WriteString("  ")
		}
		last := i%perRow == perRow-1 || i == len(words)-1
		if last {
			fmt.Fprintf(page, "%3d %s\n", first+i, word)
		} else {
			fmt.Fprintf(page, "%3d %-12s", first+i, word)
		}
	}
}

// wrap breaks text at spaces into lines of at most width characters. A longer word
// has a line of its own.
func wrap(text string, width int) []string {
	var all []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			all = append(all, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(all, line)
}
