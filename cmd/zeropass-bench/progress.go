package main

import (
	"fmt"
	"os"

	"golang.org/x/term"
)

// progress says on a terminal what is being done; it is silent anywhere else.
type progress struct{ to *os.File }

func newProgress(to *os.File) progress {
	if !term.IsTerminal(int(to.Fd())) {
		return progress{}
	}
	return progress{to}
}

// say shows one line in the place of the last one.
func (p progress) say(format string, args ...any) {
	if p.to != nil {
		_, _ = fmt.Fprintf(p.to, "\r\x1b[K"+format, args...)
	}
}

// end takes the line away.
func (p progress) end() { p.say("") }
