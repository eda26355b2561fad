package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// exitCode is how the program ends. The numbers are documented and do not
// change.
type exitCode int

const (
	exitDone        exitCode = 0
	exitFailed      exitCode = 1
	exitUsage       exitCode = 2
	exitPassphrase  exitCode = 3
	exitUnreachable exitCode = 4
	exitRefused     exitCode = 5
	exitDishonest   exitCode = 6
	exitNotYet      exitCode = 7
	exitNotFound    exitCode = 8
	exitNewer       exitCode = 9
	exitHome        exitCode = 10
)

const exitCodesText = `Every command ends with one of these codes, and so does zeropass-recover.

   0  done
   1  something failed; what was done before still stands
   2  the command was not understood: a wrong flag or argument
   3  wrong passphrase
   4  the server cannot be reached
   5  the server refused
   6  the server is dishonest, or there are two histories of the account or two branches of its activity log
   7  not yet: the account is not recoverable, a recovery still waits, no other device confirmed, or a compared head is ahead
   8  not found
   9  a newer program is needed
  10  the home is in use by another process, missing, or already there

Errors go to standard error as "error:", with "hint:" saying what to do next.`

func exitCodesTopic() *cobra.Command {
	c := &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long:  exitCodesText,
	}
	c.SetHelpFunc(func(c *cobra.Command, _ []string) {
		fmt.Fprintln(c.OutOrStdout(), c.Long)
	})
	return c
}

// failure is an error with its exit code and what to do next.
type failure struct {
	code exitCode
	text string
	hint string
}

func (f *failure) Error() string { return f.text }

func fail(code exitCode, hint, format string, args ...any) error {
	return &failure{code: code, text: fmt.Sprintf(format, args...), hint: hint}
}

func usage(hint, format string, args ...any) error {
	return fail(exitUsage, hint, format, args...)
}

// asUsage makes a usage failure of what the command-line parser refused.
func asUsage(err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return usage("Run the command with --help to see what it takes.", "%s", err)
}

// explain finds exit code, text and hint of an error.
func explain(ctx context.Context, err error) *failure {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) || errors.Is(err, errStopped) {
		return &failure{exitFailed, "stopped", "Nothing is lost. Run the same command again and it goes on."}
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if f := explainDevice(err); f != nil {
		return f
	}
	var path *fs.PathError
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return &failure{exitFailed, err.Error(), "The disk is full. Make room and run the same command again."}
	case errors.As(err, &path):
		return &failure{exitFailed, fmt.Sprintf("%s: %s", path.Path, path.Err), ""}
	}
	return &failure{exitFailed, err.Error(), ""}
}

// report prints an error the way every command does and returns the exit code.
func report(w io.Writer, ctx context.Context, err error) exitCode {
	if err == nil {
		return exitDone
	}
	if e, ok := errors.AsType[answered](err); ok {
		return exitCode(e)
	}
	f := explain(ctx, err)
	fmt.Fprintf(w, "error: %s\n", oneParagraph(f.text))
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", oneParagraph(f.hint))
	}
	return f.code
}

// answered ends the program with a code and no error text: the answer itself,
// which has been printed, is what the code says.
type answered exitCode

func (answered) Error() string { return "answered" }

// oneParagraph keeps what came from elsewhere, a server's message for one, from
// steering the terminal or forging further lines.
func oneParagraph(s string) string {
	return strings.Join(strings.Fields(printable(s)), " ")
}
