package memory

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// OnPanic is deferred by main. If the program panics it says where, and ends the
// program with the code; it never says with what value, which may have a secret
// in it.
func OnPanic(w io.Writer, code int) {
	if recover() == nil {
		return
	}
	fmt.Fprintln(w, "error: the program failed by a mistake in it, which is worth a report:")
	fmt.Fprint(w, stack(3))
	os.Exit(code)
}

// Stack returns where its caller is, a line for each function. Unlike
// [runtime/debug.Stack] it has no arguments, which may be parts of keys.
func Stack() string { return stack(3) }

func stack(skip int) string {
	var b strings.Builder
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(skip, callers)])
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&b, "  %s:%d\n", frame.Function, frame.Line)
		if !more {
			return b.String()
		}
	}
}
