package interchange

import (
	"fmt"
	"strings"
)

// Error says what is wrong with a file or an item, and what to do about it. It
// never contains a value, only names.
type Error struct {
	Row     int    // the item's place in the file or slice, from 1; 0 when it is no item
	Item    string // the item's name, if it has one
	Field   string // the member's path, like login.uris[0].match; empty for the whole
	Problem string // what is wrong, like "is not text"
	Hint    string // what to do next, a sentence
}

// Error returns all of it in one line.
func (e *Error) Error() string {
	var subject []string
	if e.Row > 0 {
		item := fmt.Sprintf("item %d", e.Row)
		if e.Item != "" {
			// Quoted, so that a name cannot forge lines or steer a terminal.
			item += fmt.Sprintf(" (%q)", shorten(e.Item))
		}
		subject = append(subject, item)
	}
	if e.Field != "" {
		subject = append(subject, e.Field)
	}
	if len(subject) == 0 {
		subject = append(subject, "the file")
	}
	text := strings.Join(subject, ", ") + " " + e.Problem
	if e.Hint != "" {
		text += ". " + e.Hint
	}
	return text
}

// shorten keeps a name to what fits into a message, in characters.
func shorten(name string) string {
	const most = 60
	runes := []rune(name)
	if len(runes) <= most {
		return name
	}
	return string(runes[:most]) + "…"
}

const (
	// hintImport is for a file that Bitwarden cannot have written.
	hintImport = "Correct it in the file, or export from Bitwarden again; nothing was imported"
	// hintExport is for a slot that Bitwarden cannot take.
	hintExport = "Correct the item or leave it out; nothing was exported"
)

// fault is an Error before the item is known to which it belongs.
type fault struct {
	field         string
	problem, hint string
}

// in puts the name of the surrounding member in front of the path.
func (f *fault) in(name string) *fault {
	switch {
	case f.field == "":
		f.field = name
	case strings.HasPrefix(f.field, "["):
		f.field = name + f.field
	default:
		f.field = name + "." + f.field
	}
	return f
}

// of completes the fault; its own hint goes before the usual one.
func (f *fault) of(row int, item, usualHint string) *Error {
	hint := f.hint
	if hint == "" {
		hint = usualHint
	}
	return &Error{Row: row, Item: item, Field: f.field, Problem: f.problem, Hint: hint}
}

func wrong(problem string) *fault { return &fault{problem: problem} }
