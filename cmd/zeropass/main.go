// Command zeropass keeps a person's secrets so that they can never lose them,
// and nobody else can take them. It is the program on each of their devices:
// one subcommand for each thing that a person can ask, all of it done by
// package device.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"charm.land/fang/v2"

	"zeropass.dev/zeropass/memory"
)

func main() {
	defer memory.OnPanic(os.Stderr, int(exitFailed))
	if err := memory.Harden(); err != nil {
		fmt.Fprintf(os.Stderr, "warning: %v\n", err)
	}
	// The first signal stops cleanly: what is written stays whole and the next
	// run goes on. A second one ends the program at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	err := fang.Execute(ctx, newRoot(a),
		fang.WithVersion(version()),
		fang.WithErrorHandler(func(io.Writer, fang.Styles, error) {}))
	if err != nil {
		// Commands leave their failures in the app, so this is about how the
		// program was called.
		err = asUsage(err)
	} else {
		err = a.failed
	}
	a.erase()
	os.Exit(int(report(os.Stderr, ctx, err)))
}
