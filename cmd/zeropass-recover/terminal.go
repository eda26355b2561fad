package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal asks a person. Everything that is typed is secret.
type terminal struct {
	fd    int
	lines *bufio.Reader
	out   io.Writer
	is    bool // whether there is a terminal
}

func newTerminal(in *os.File, out io.Writer) *terminal {
	fd := int(in.Fd())
	return &terminal{fd: fd, lines: bufio.NewReader(in), out: out, is: term.IsTerminal(fd)}
}

// silence keeps what is typed from being shown, until restore is called: the
// whole time that the program runs, since people paste and type ahead.
func (t *terminal) silence() (restore func(), err error) {
	if !t.is {
		return func() {}, nil
	}
	before, err := unix.IoctlGetTermios(t.fd, getTermios)
	if err != nil {
		return nil, fmt.Errorf("the terminal cannot be made silent: %w", err)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG | unix.ECHONL
	silent.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(t.fd, setTermios, &silent); err != nil {
		return nil, fmt.Errorf("the terminal cannot be made silent: %w", err)
	}
	// What was typed and not read must not become commands of the shell.
	return func() { _ = unix.IoctlSetTermios(t.fd, setTermiosFlush, before) }, nil
}

// line prints a question and reads a line, without its end.
func (t *terminal) line(ctx context.Context, question string) (string, error) {
	_, _ = io.WriteString(t.out, question)
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		line, err := t.lines.ReadString('\n')
		if errors.Is(err, io.EOF) && line != "" {
			err = nil
		}
		read <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err() // the reader ends with the program
	case a := <-read:
		for len(a.line) > 0 && (a.line[len(a.line)-1] == '\n' || a.line[len(a.line)-1] == '\r') {
			a.line = a.line[:len(a.line)-1]
		}
		return a.line, a.err
	}
}

func (t *terminal) say(format string, args ...any) {
	_, _ = fmt.Fprintln(t.out, printable(fmt.Sprintf(format, args...)))
}
