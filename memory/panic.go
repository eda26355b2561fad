package memory

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

// OnPanic is deferred by main. If the program panics it says where, and ends the
// program with the code; it never says with what value, which may have a secret
// in it.
func OnPanic(w io.Writer, code int) {
	if recover() == nil {
		return
	}
	fmt.Fprintln(w, "error: the program failed by a mistake in it, which is worth a report:")
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		frame, more := frames.Next()
		fmt.Fprintf(w, "  %s:%d\n", frame.Function, frame.Line)
		if !more {
			break
		}
	}
	os.Exit(code)
}
