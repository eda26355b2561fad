package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// report is what the program has to say beside the output. It has titles, and no
// secret.
type report struct {
	Written  string   `json:"written,omitempty"` // the output, if it was written
	Items    int      `json:"items"`             // in the output
	Account  string   `json:"account,omitempty"`
	Name     string   `json:"name,omitempty"`
	Epochs   []uint64 `json:"epochs"` // whose keys came back
	Failed   []failed `json:"failed"`
	Warnings []string `json:"warnings"`
	Error    *problem `json:"error,omitempty"`
}

// failed is one thing that did not open, or not in its newest version.
type failed struct {
	Slot    string `json:"slot,omitempty"`
	Title   string `json:"title,omitempty"` // empty if it did not open either
	Version uint64 `json:"version,omitempty"`
	Reason  string `json:"reason"`
	Written bool   `json:"written"` // whether something of it is in the output with --partial
}

type problem struct {
	Code int    `json:"code"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

func (r *report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

func (r *report) fail(f failed) {
	r.Failed = append(r.Failed, f)
	slices.SortStableFunc(r.Failed, func(a, b failed) int { return cmp.Or(cmp.Compare(a.Title, b.Title), cmp.Compare(a.Slot, b.Slot)) })
}

// forgive takes back that a slot did not open: a newer version of it is here.
func (r *report) forgive(slot string) {
	r.Failed = slices.DeleteFunc(r.Failed, func(f failed) bool { return f.Slot == slot })
}

func (r *report) printText(w io.Writer) {
	var b bytes.Buffer
	for _, text := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", printable(text))
	}
	for _, f := range r.Failed {
		name := f.Title
		if name == "" {
			name = "slot " + f.Slot
		}
		fmt.Fprintf(&b, "failed: %s: %s\n", printable(name), printable(f.Reason))
	}
	if r.Written != "" {
		fmt.Fprintf(&b, "%s: %s, unencrypted. Delete the file as soon as you have stored them elsewhere.\n", printable(r.Written), count(r.Items, "secret", "secrets"))
	}
	_, _ = w.Write(b.Bytes())
}

func (r *report) printJSON(w io.Writer, err error) {
	if err != nil {
		f := explain(err)
		r.Error = &problem{int(f.code), f.text, f.hint}
	}
	// Lists that are empty are lists.
	if r.Epochs == nil {
		r.Epochs = []uint64{}
	}
	if r.Failed == nil {
		r.Failed = []failed{}
	}
	if r.Warnings == nil {
		r.Warnings = []string{}
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(r)
}
