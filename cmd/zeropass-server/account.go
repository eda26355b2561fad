package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

func accountCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "account",
		Short: "List, lock and delete accounts",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		accountListCommand(),
		accountOneCommand("show", "Say what an account takes",
			`Say what an account takes. The server knows no more of it.`, (*accountOptions).show),
		accountOneCommand("lock", "Refuse everything that concerns an account",
			`Refuse everything that concerns an account, its recovery too, until it is unlocked.
Its devices are told that the operator did it; nothing is deleted. A running server
obeys at once.`, (*accountOptions).lock),
		accountOneCommand("unlock", "Serve a locked account again", `Serve a locked account again.`, (*accountOptions).unlock),
		accountDeleteCommand())
	return c
}

// accountView is an account as it is printed.
type accountView struct {
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Entries uint64       `json:"entries"`
	Locked  *time.Time   `json:"locked,omitempty"`
	Usage   *store.Usage `json:"usage,omitempty"`
}

func viewAccount(a store.Account) accountView {
	v := accountView{ID: a.ID.String(), Name: a.Name, Entries: a.Head.Sequence}
	if !a.Locked.IsZero() {
		v.Locked = &a.Locked
	}
	return v
}

// accountOptions are what commands on accounts work with.
type accountOptions struct {
	data    dataOptions
	json    bool
	deletes bool
	yes     bool
	store   store.Maintained
	stdin   io.Reader
	stdout  io.Writer
}

func accountListCommand() *cobra.Command {
	var o accountOptions
	c := configured(&cobra.Command{Use: "list --data DIR|--database URL", Short: "List the accounts", Args: noArgs})
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.with(c, "account list", func() error { return o.list(c) })
	}
	o.add(c)
	return c
}

func (o *accountOptions) add(c *cobra.Command) {
	o.data.add(c.Flags())
	c.Flags().BoolVar(&o.json, "json", false, "print JSON, one object on a line")
}

// with opens the data for f.
func (o *accountOptions) with(c *cobra.Command, command string, f func() error) (err error) {
	open := o.data.beside
	if o.deletes {
		open = o.data.besideWhole
	}
	if o.store, err = open(c.Context(), command); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.store.Close()) }()
	o.stdin, o.stdout = c.InOrStdin(), c.OutOrStdout()
	return f()
}

func (o *accountOptions) list(c *cobra.Command) error {
	var after ledger.AccountID
	for {
		page, err := o.store.Accounts(c.Context(), after, 256)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, a := range page {
			if err := o.print(viewAccount(a)); err != nil {
				return err
			}
		}
		after = page[len(page)-1].ID
	}
}

func (o *accountOptions) print(v accountView) error {
	if o.json {
		return json.NewEncoder(o.stdout).Encode(v)
	}
	locked := ""
	if v.Locked != nil {
		locked = ", locked since " + v.Locked.Format("2006-01-02 15:04 UTC")
	}
	if _, err := fmt.Fprintf(o.stdout, "%s  %s  %d entries%s\n", v.ID, v.Name, v.Entries, locked); err != nil || v.Usage == nil {
		return err
	}
	u := v.Usage
	_, err := fmt.Fprintf(o.stdout, "ledger: %d bytes\nshares: %d, %d bytes\nactivity log: %d entries\nmessages that wait: %d\nrequests to recover: %d\n",
		u.EntryBytes, u.Shares, u.ShareBytes, u.Activities, u.Waiting, u.Recoveries)
	return err
}

// accountOneCommand is a command on one account, which is named by its id or name.
func accountOneCommand(name, short, long string, run func(*accountOptions, *cobra.Command, store.Account) error) *cobra.Command {
	var o accountOptions
	c := configured(&cobra.Command{
		Use:   name + " --data DIR|--database URL ACCOUNT",
		Short: short,
		Long:  long + " ACCOUNT is its id or its name." + settingsUsage,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("Name its id or its name; zeropass-server account list says which there are.", "%s takes one account", c.CommandPath())
			}
			return nil
		},
	})
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.with(c, "account "+name, func() error {
			a, err := o.find(c, args[0])
			if err != nil {
				return err
			}
			return run(&o, c, a)
		})
	}
	o.add(c)
	if o.deletes = name == "delete"; o.deletes {
		c.Flags().BoolVar(&o.yes, "yes", false, "delete it; the name is still read from standard input")
	}
	return c
}

func accountDeleteCommand() *cobra.Command {
	return accountOneCommand("delete", "Destroy everything of an account",
		`Destroy everything that the server has of an account: ledger, shares, activity log,
messages from it and to it. Its devices keep what they have, cannot bring it back to
this server, and show no secret without the server's shares. It needs --yes, and the
account's name on standard input. Backups still have the account: after a restore of an
older one, delete it again.`, (*accountOptions).remove)
}

func (o *accountOptions) find(c *cobra.Command, named string) (store.Account, error) {
	missing := fail(exitFailed, "zeropass-server account list says which there are.", "there is no account %q", named)
	id, err := ledger.ParseAccountID(named)
	if err != nil {
		key, err := server.NameKey(named)
		if err != nil {
			return store.Account{}, missing
		}
		if id, err = o.store.Named(c.Context(), key); err != nil {
			return store.Account{}, notFound(err, missing)
		}
	}
	a, err := o.store.Account(c.Context(), id)
	if err != nil {
		return store.Account{}, notFound(err, missing)
	}
	return a, nil
}

func notFound(err, missing error) error {
	if errors.Is(err, store.ErrNotFound) {
		return missing
	}
	return err
}

func (o *accountOptions) show(c *cobra.Command, a store.Account) error {
	usage, err := o.store.Usage(c.Context(), a.ID)
	if err != nil {
		return err
	}
	v := viewAccount(a)
	v.Usage = &usage
	return o.print(v)
}

func (o *accountOptions) lock(c *cobra.Command, a store.Account) error {
	if a.Locked.IsZero() {
		if err := o.store.Lock(c.Context(), a.ID, time.Now()); err != nil {
			return err
		}
	}
	return o.printNow(c, a.ID)
}

func (o *accountOptions) unlock(c *cobra.Command, a store.Account) error {
	if err := o.store.Unlock(c.Context(), a.ID); err != nil {
		return err
	}
	return o.printNow(c, a.ID)
}

func (o *accountOptions) printNow(c *cobra.Command, id ledger.AccountID) error {
	a, err := o.store.Account(c.Context(), id)
	if err != nil {
		return err
	}
	return o.print(viewAccount(a))
}

func (o *accountOptions) remove(c *cobra.Command, a store.Account) error {
	if !o.yes {
		return usage("Give --yes, and type the account's name when it is asked for.", "account delete destroys what nobody can bring back, and needs --yes")
	}
	if _, err := fmt.Fprintf(c.ErrOrStderr(), "type the name of account %v to destroy it: ", a.ID); err != nil {
		return err
	}
	typed, err := bufio.NewReader(io.LimitReader(o.stdin, 1<<12)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimRight(typed, "\r\n") != a.Name {
		return usage("Nothing was deleted. Type the name as account show prints it.", "that is not the name of account %v", a.ID)
	}
	if err := o.store.Remove(c.Context(), a.ID, time.Now()); err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(o.stdout).Encode(map[string]any{"id": a.ID.String(), "deleted": true})
	}
	_, err = fmt.Fprintf(o.stdout, "account %v is deleted\n", a.ID)
	return err
}
