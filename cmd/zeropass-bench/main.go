// Command zeropass-bench drives a zeropass-server with the requests of many
// simulated accounts, with real cryptography, and prints what they cost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usageText = `zeropass-bench drives a zeropass-server with the requests of many simulated
accounts, with real cryptography, and prints what they cost.

  zeropass-bench [flags]

It starts the server itself, and PostgreSQL, with empty databases in temporary
directories that it removes (TMPDIR says where: name the disk that matters). The
machine should have nothing else to do. Where there are two processors or more,
the server has one to itself and the load another one; PostgreSQL runs on all.

  --quick             few accounts and short runs: does it work?
  --database WHICH    sqlite (the default), postgres or both
  --accounts N        how many accounts are made, 10000 unless told; in
                      PostgreSQL at most 10000
  --clients N         how many clients ask at a time, 64 unless told
  --duration D        how long each run takes, 10s unless told
  --server FILE       the program zeropass-server; without it, it is built
                      from the source that this program stands in
  --profile DIR       write there where the server's processor time goes while
                      it is under load, for go tool pprof; the figures are then
                      not what they would be without
  --json              print JSON

Exit codes, the same as those of zeropass:

   0  everything was measured, and every answer verified
   1  something failed
   2  the command was not understood
`

type options struct {
	quick, json bool
	database    string
	accounts    int
	clients     int
	duration    time.Duration
	server      string
	profile     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := program(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(int(code))
}

// exitCode is how the program ends, as with the other programs.
type exitCode int

const (
	exitDone   exitCode = 0
	exitFailed exitCode = 1
	exitUsage  exitCode = 2
)

// program is the program, without what a process can have only once.
func program(ctx context.Context, args []string, stdout, stderr *os.File) exitCode {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(stdout, usageText)
		return exitDone
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "error: %v\nhint: Run zeropass-bench --help to see what it takes.\n", err)
		return exitUsage
	}
	err = o.bench(ctx, stdout, newProgress(stderr))
	if err != nil && ctx.Err() != nil {
		err = errors.New("stopped before everything was measured")
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "error: %s\n", strings.Join(strings.Fields(err.Error()), " "))
		return exitFailed
	}
	return exitDone
}

func parse(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("zeropass-bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.quick, "quick", false, "")
	flags.BoolVar(&o.json, "json", false, "")
	flags.StringVar(&o.database, "database", "sqlite", "")
	flags.IntVar(&o.accounts, "accounts", 0, "")
	flags.IntVar(&o.clients, "clients", 64, "")
	flags.DurationVar(&o.duration, "duration", 0, "")
	flags.StringVar(&o.server, "server", "", "")
	flags.StringVar(&o.profile, "profile", "", "")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if o.accounts == 0 {
		o.accounts = 10_000
		if o.quick {
			o.accounts = 200
		}
	}
	if o.duration == 0 {
		o.duration = 10 * time.Second
		if o.quick {
			o.duration = 2 * time.Second
		}
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("zeropass-bench takes no argument, and got %q", flags.Arg(0))
	case o.database != "sqlite" && o.database != "postgres" && o.database != "both":
		return nil, fmt.Errorf("--database %s: it is sqlite, postgres or both", o.database)
	case o.accounts < 64 || o.accounts > 10_000_000:
		return nil, fmt.Errorf("--accounts %d: 64 to 10000000", o.accounts)
	case o.clients < 1 || o.clients > 1024:
		return nil, fmt.Errorf("--clients %d: 1 to 1024", o.clients)
	case o.duration < 100*time.Millisecond || o.duration > 30*time.Second:
		return nil, fmt.Errorf("--duration %s: 100ms to 30s, as requests are signed before and good for two minutes", o.duration)
	}
	return o, nil
}
