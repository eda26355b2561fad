package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// say prints one line of the answer.
func (a *app) say(format string, args ...any) {
	a.clearProgress()
	fmt.Fprintf(a.out, format+"\n", args...)
}

// note prints one line that is not part of the answer: what a person at the
// terminal wants to know and a script does not.
func (a *app) note(format string, args ...any) {
	a.clearProgress()
	fmt.Fprintf(a.err, format+"\n", args...)
}

func (a *app) warn(format string, args ...any) {
	a.note("warning: "+format, args...)
}

// next prints what there is to do after a command.
func (a *app) next(lines ...string) {
	if len(lines) == 0 {
		return
	}
	a.say("")
	for i, line := range lines {
		if i == 0 {
			a.say("Next: %s", line)
		} else {
			a.say("      %s", line)
		}
	}
}

// printJSON prints an answer for programs: one object or array.
func (a *app) printJSON(v any) error {
	a.clearProgress()
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// show prints v with --json and otherwise what text prints.
func (a *app) show(v any, text func()) error {
	if a.json {
		return a.printJSON(v)
	}
	text()
	return nil
}

// printable takes out what could steer a terminal or hide text in it: control
// characters, and the marks that turn the direction of writing around.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f:
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// oneLine is printable in one line.
func oneLine(s string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(printable(s))
}

// table prints rows in columns, by the width that they have on the screen. The
// last column is cut only where the terminal is too narrow for it.
func table(w io.Writer, width int, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i < len(row)-1 {
				cell = runewidth.FillRight(cell, widths[i]+2)
			}
			line.WriteString(cell)
		}
		text := strings.TrimRight(line.String(), " ")
		if width > 0 {
			text = runewidth.Truncate(text, width, "…")
		}
		fmt.Fprintln(w, text)
	}
}

// width is the terminal's, 0 when the output is none.
func (a *app) width() int {
	if !term.IsTerminal(int(a.out.Fd())) {
		return 0
	}
	w, _, err := term.GetSize(int(a.out.Fd()))
	if err != nil {
		return 0
	}
	return w
}

// ago says how long ago something was, in the one unit that matters.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return "never"
	}
	d := now.Sub(then)
	if d < 5*time.Second {
		return "just now"
	}
	return duration(d) + " ago"
}

// duration says a length of time in its greatest unit, or two where one alone
// would be crude: 3 days, 26 hours, 90 minutes.
func duration(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := d / unit.size; n >= 2 || n == 1 && d%unit.size == 0 {
			return count(int(n), unit.name)
		}
	}
	return count(int((d+time.Second-1)/time.Second), "second")
}

// count says how many there are of something.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.ContainsAny(stem[len(stem)-1:], "aeou") {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// when says a time the way the clock on the wall does.
func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// jsonTime is a time in JSON: RFC 3339 in UTC, absent when it is not known.
func jsonTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// pathCause takes the operation and the path out of a file error, because the
// message names the path already.
func pathCause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// shellQuote writes a word so that a shell reads it back.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:@%+,=", r)
	}
	if s != "" && strings.IndexFunc(s, plain) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
