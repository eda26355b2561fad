package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

func checkCommand() *cobra.Command {
	var o dataOptions
	var asJSON bool
	c := configured(&cobra.Command{
		Use:   "check --data DIR|--database URL --key-file FILE",
		Short: "Check the data of every account",
		Long: `Check the data of every account: its ledger folds by the ledger's rules and ends
where the account says, its activity log is a chain, and every share that the ledger
requires is there, opens with the key file, and has the hash that the ledger names.

It reads only, and works beside a running server. It prints one line for each thing
that is wrong, and ends with 1 if there is one. What is missing after a restore comes
back with the account's devices.` + settingsUsage,
		Args: noArgs,
	})
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		s, keys, err := o.besideWithKeys(c.Context(), "check")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return checkStore(c.Context(), s, keys, asJSON, c.OutOrStdout(), c.ErrOrStderr())
	}
	o.add(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object on a line")
	return c
}

// findingLine and checkedLine are what check --json prints.
type findingLine struct {
	Account string `json:"account"`
	Finding string `json:"finding"`
}

type checkedLine struct {
	Accounts   int `json:"accounts"`
	Entries    int `json:"entries"`
	Shares     int `json:"shares"`
	Activities int `json:"activities"`
	Findings   int `json:"findings"`
}

func checkStore(ctx context.Context, s store.Maintained, keys *server.Keys, asJSON bool, out, progress io.Writer) error {
	m := newMeter(progress)
	encoder := json.NewEncoder(out)
	var writing error
	done, err := server.Check(ctx, s, keys, func(f server.Finding) {
		m.done()
		if asJSON {
			writing = errors.Join(writing, encoder.Encode(findingLine{f.Account.String(), f.What}))
			return
		}
		_, err := fmt.Fprintf(out, "account %v: %s\n", f.Account, f.What)
		writing = errors.Join(writing, err)
	}, func(c server.Checked) { m.show("%d accounts, %d findings", c.Accounts, c.Findings) })
	m.done()
	if err := errors.Join(err, writing); err != nil {
		return err
	}
	if asJSON {
		err = encoder.Encode(checkedLine{done.Accounts, done.Entries, done.Shares, done.Activities, done.Findings})
	} else {
		_, err = fmt.Fprintf(out, "checked %d accounts, %d entries, %d shares, %d activities: %d findings\n",
			done.Accounts, done.Entries, done.Shares, done.Activities, done.Findings)
	}
	if err == nil && done.Findings > 0 {
		err = fail(exitFailed, "Keep a copy of the data as they are. Shares and entries that are missing come back when the account's devices sync; for all else restore a backup.", "%d things are wrong", done.Findings)
	}
	return err
}
