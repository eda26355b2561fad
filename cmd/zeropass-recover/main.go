// Zeropass-recover brings an account back without the server: from a device's
// directory, its passphrase, and a quorum's words.
//
//	zeropass-recover --home DIR --output FILE [flags]
//
// It uses no network and changes nothing in the directory, which may be a copy
// on any medium. It writes nothing unless everything opened and was verified, or
// --partial was given. Run it with --help for the flags and the exit codes.
//
// It needs the public packages of ZeroPass alone, so that it can be built, read
// and trusted without the rest.
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

	"zeropass.dev/zeropass/memory"
)

const usageText = `zeropass-recover brings an account back without the server.

  zeropass-recover --home DIR --output FILE [flags]

It needs the directory of one device, or a copy of it, with its passphrase, and
the words of as many contacts as the account asks for, or of the printed sheet.

  --home DIR              the device's directory; only read
  --output FILE           where the secrets go, unencrypted; must not exist yet
  --words FILE            the words of one contact or of the sheet, as text or as
                          scanned from the QR code; give it once for each.
                          Without it, or with too few, the words are asked for
  --passphrase-file FILE  a file with the passphrase in one line, instead of
                          asking for it
  --format FORMAT         bitwarden-json, which most password managers import
                          (the default), or text, for reading
  --partial               write what opens even if something does not
  --json                  report as JSON on standard output

Exit codes, the same as those of zeropass:

   0  everything was written
   1  something failed, or with --partial something is missing
   2  the command was not understood
   3  wrong passphrase
   7  not yet: more words are needed
   9  a newer program is needed
  10  there is no account in the directory

`

type options struct {
	home, output, passphraseFile, format string
	words                                []string
	partial, json                        bool
}

func main() {
	defer memory.OnPanic(os.Stderr, int(exitFailed))
	if err := memory.Harden(); err != nil {
		fmt.Fprintf(os.Stderr, "warning: %v\n", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(int(code))
}

// run is the program, without what a process can have only once.
func run(ctx context.Context, args []string, in *os.File, out, errs io.Writer) exitCode {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(out, usageText)
		return exitDone
	}
	if err != nil {
		return complain(errs, err)
	}
	p := &program{options: *o, terminal: newTerminal(in, errs)}
	err = p.run(ctx)
	if o.json {
		p.report.printJSON(out, err)
	} else {
		p.report.printText(errs)
	}
	return complain(errs, err)
}

func parse(args []string) (*options, error) {
	var o options
	flags := flag.NewFlagSet("zeropass-recover", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.home, "home", "", "")
	flags.StringVar(&o.output, "output", "", "")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "")
	flags.StringVar(&o.format, "format", formatBitwarden, "")
	flags.BoolVar(&o.partial, "partial", false, "")
	flags.BoolVar(&o.json, "json", false, "")
	flags.Func("words", "", func(path string) error {
		o.words = append(o.words, path)
		return nil
	})
	const hint = "Run zeropass-recover --help to see what it takes."
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fail(exitUsage, hint, "%v", err)
	}
	switch {
	case flags.NArg() > 0:
		return nil, fail(exitUsage, hint, "%q is no flag", flags.Arg(0))
	case o.home == "":
		return nil, fail(exitUsage, "Name the directory of a device, or of a copy of it, with --home.", "--home is missing")
	case o.output == "":
		return nil, fail(exitUsage, "Name a file that does not exist yet with --output. It will hold every secret, unencrypted.", "--output is missing")
	case writers[o.format] == nil:
		return nil, fail(exitUsage, "The formats are "+formatBitwarden+" and "+formatText+".", "there is no format %q", o.format)
	}
	return &o, nil
}

// complain prints an error and returns the exit code.
func complain(w io.Writer, err error) exitCode {
	if err == nil {
		return exitDone
	}
	f := explain(err)
	_, _ = fmt.Fprintf(w, "error: %s\n", printable(f.text))
	if f.hint != "" {
		_, _ = fmt.Fprintf(w, "hint: %s\n", printable(f.hint))
	}
	return f.code
}

// printable keeps names that came from a ledger or a file system from steering
// the terminal.
func printable(s string) string {
	quoted := fmt.Sprintf("%+q", s)
	if len(quoted) == len(s)+2 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f {
			return '\uFFFD'
		}
		return r
	}, s)
}
