package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres"
)

// exitCode is how the program ends. The numbers are documented, are those of
// zeropass, and do not change.
type exitCode int

const (
	exitDone   exitCode = 0
	exitFailed exitCode = 1
	exitUsage  exitCode = 2
	exitNewer  exitCode = 9
	exitBusy   exitCode = 10
)

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

func usage(hint, format string, args ...any) error { return fail(exitUsage, hint, format, args...) }

// explain finds exit code, text and hint of an error.
func explain(err error) *failure {
	var f *failure
	var path *fs.PathError
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, store.ErrOtherServer):
		return &failure{exitFailed, "the data belong to a server with another key file", "Start with the key file that the data were made with."}
	case errors.Is(err, postgres.ErrURL):
		return &failure{exitUsage, err.Error(), "For instance --database postgres://zeropass@database.example/zeropass"}
	case errors.Is(err, postgres.ErrPasswordInURL):
		return &failure{exitUsage, err.Error(), "Everybody on this machine sees what a program is called with. Take the password out, change it, and give it with --database-password-file or PGPASSFILE."}
	case errors.Is(err, postgres.ErrUnreachable):
		return &failure{exitFailed, err.Error(), "See that PostgreSQL runs, and that the URL, the user and the password are right."}
	case errors.Is(err, postgres.ErrNotDurable):
		return &failure{exitFailed, err.Error(), "Turn it on for this database and role. What a server has acknowledged must not be lost, and this database may lose it."}
	case errors.Is(err, store.ErrNewerSchema):
		return &failure{exitNewer, err.Error(), "Use the newer program. This one has changed nothing."}
	case errors.Is(err, store.ErrOlderSchema):
		return &failure{exitFailed, err.Error(), "Start the newer server, or run zeropass-server migrate; until then use the program of the version that runs. This one has changed nothing."}
	case errors.Is(err, store.ErrNoData):
		return &failure{exitFailed, err.Error(), "Name the data that zeropass-server serve uses."}
	case errors.Is(err, store.ErrNotEmpty):
		return &failure{exitFailed, err.Error(), "A backup is restored where there is nothing yet. Nothing was changed."}
	case errors.Is(err, store.ErrCopy):
		return &failure{exitFailed, err.Error(), "It is no whole backup of zeropass-server. Nothing was restored; use another one."}
	case errors.Is(err, server.ErrNoSuchKey):
		return &failure{exitFailed, err.Error(), "zeropass-server keys list says which there are. Something that a retired key encrypts needs the key file as it was before."}
	case errors.Is(err, server.ErrKeyInUse):
		return &failure{exitFailed, err.Error(), "Add another one first, and rotate."}
	case errors.Is(err, store.ErrFailed):
		return &failure{exitFailed, err.Error(), "Look at the disk, and start again: what was acknowledged is there, or the server says that it is not."}
	case errors.Is(err, server.ErrKeyFileAccess):
		return &failure{exitFailed, err.Error(), "Make it its owner's alone with chmod 600. If others may have read it, make a new server: whoever has it and the data has all of the server's shares."}
	case errors.Is(err, server.ErrKeyFile):
		return &failure{exitFailed, err.Error(), "Name the key file that this server made, or restore it from its copy."}
	case errors.Is(err, syscall.ENOSPC):
		return &failure{exitFailed, err.Error(), "The disk is full. Make room and start again."}
	case errors.As(err, &path):
		return &failure{exitFailed, fmt.Sprintf("%s: %s", path.Path, path.Err), ""}
	}
	return &failure{exitFailed, err.Error(), ""}
}

// report prints an error and returns the exit code.
func report(w io.Writer, err error) exitCode {
	if err == nil {
		return exitDone
	}
	f := explain(err)
	_, _ = fmt.Fprintf(w, "error: %s\n", strings.Join(strings.Fields(f.text), " "))
	if f.hint != "" {
		_, _ = fmt.Fprintf(w, "hint: %s\n", f.hint)
	}
	return f.code
}
