package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

const tokenLong = `Tokens register accounts at a server that takes new ones by token (serve
--registration token). Whoever has one gives it to zeropass init with
--registration-token-file. The data have only their hashes: what create prints is
not shown again.

These commands work beside a running server.` + settingsUsage

// maxTokenLife is how long a token may live.
const maxTokenLife = 366 * 24 * time.Hour

func tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make and revoke tokens that register accounts",
		Long:  tokenLong,
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return c
}

// tokenView is one token as it is shown.
type tokenView struct {
	Token   string    `json:"token,omitempty"` // when it is made, and never again
	ID      string    `json:"id"`
	Note    string    `json:"note,omitempty"`
	Uses    uint64    `json:"uses"`
	Used    uint64    `json:"used"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// tokenID names a token without giving it away: the first 8 bytes of its hash.
func tokenID(hash [32]byte) string { return hex.EncodeToString(hash[:8]) }

func viewToken(t store.Token) tokenView {
	return tokenView{ID: tokenID(t.Hash), Note: t.Note, Uses: t.Uses, Used: t.Used, Created: t.Created, Expires: t.Expires}
}

func (v tokenView) state(now time.Time) string {
	switch {
	case v.Used >= v.Uses:
		return "used up"
	case !v.Expires.After(now):
		return "expired"
	}
	return fmt.Sprintf("%d of %d left until %s", v.Uses-v.Used, v.Uses, v.Expires.Format(time.RFC3339))
}

// withData runs a command over the data, beside a server that runs.
func withData(c *cobra.Command, o *dataOptions, run func(store.Maintained) error) error {
	s, err := o.beside(c.Context(), c.CommandPath())
	if err != nil {
		return err
	}
	err = run(s)
	if closed := s.Close(); err == nil {
		err = closed
	}
	return err
}

func tokenCreateCommand() *cobra.Command {
	var data dataOptions
	var uses uint64
	var life time.Duration
	var note string
	var asJSON bool
	c := configured(&cobra.Command{
		Use:     "create",
		Short:   "Make a token and print it",
		Long:    tokenLong,
		Example: "  zeropass-server token create --config /etc/zeropass/server.toml --note Ada",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case uses < 1 || uses > 1_000_000:
				return usage("For instance --uses 1", "--uses %d: 1 to a million accounts", uses)
			case life < time.Second || life > maxTokenLife:
				return usage("For instance --expires-in 168h", "--expires-in %s: a second to a year", life)
			case len(note) > api.MaxName || strings.ContainsFunc(note, func(r rune) bool { return r < ' ' }):
				return usage("Give a few words.", "--note: at most %d bytes in one line", api.MaxName)
			}
			return withData(c, &data, func(s store.Maintained) error {
				token := make([]byte, api.TokenSize)
				defer clear(token)
				_, _ = rand.Read(token) // it never fails
				now := time.Now().UTC().Truncate(time.Millisecond)
				t := store.Token{Hash: server.TokenHash(token), Note: note, Uses: uses, Created: now, Expires: now.Add(life)}
				if err := s.AddToken(c.Context(), t); err != nil {
					return err
				}
				view := viewToken(t)
				view.Token = hex.EncodeToString(token)
				if asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(view)
				}
				_, err := fmt.Fprintln(c.OutOrStdout(), view.Token)
				return err
			})
		},
	})
	data.add(c.Flags())
	c.Flags().Uint64Var(&uses, "uses", 1, "how many accounts it registers")
	c.Flags().DurationVar(&life, "expires-in", 7*24*time.Hour, "how long it is good")
	c.Flags().StringVar(&note, "note", "", "whom it is for; only token list shows it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func tokenListCommand() *cobra.Command {
	var data dataOptions
	var asJSON bool
	c := configured(&cobra.Command{
		Use:   "list",
		Short: "List tokens, by their ids",
		Long:  tokenLong,
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withData(c, &data, func(s store.Maintained) error {
				tokens, err := s.Tokens(c.Context())
				if err != nil {
					return err
				}
				return printTokens(c.OutOrStdout(), asJSON, tokens)
			})
		},
	})
	data.add(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printTokens(out io.Writer, asJSON bool, tokens []store.Token) error {
	views := []tokenView{}
	for _, t := range tokens {
		views = append(views, viewToken(t))
	}
	if asJSON {
		return json.NewEncoder(out).Encode(views)
	}
	for _, v := range views {
		if _, err := fmt.Fprintf(out, "%s  %-44s  %s\n", v.ID, v.state(time.Now()), v.Note); err != nil {
			return err
		}
	}
	return nil
}

func tokenRevokeCommand() *cobra.Command {
	var data dataOptions
	c := configured(&cobra.Command{
		Use:   "revoke ID",
		Short: "Make a token worthless; accounts that it registered stay",
		Long:  tokenLong,
		Args:  oneID,
		RunE: func(c *cobra.Command, args []string) error {
			return withData(c, &data, func(s store.Maintained) error {
				tokens, err := s.Tokens(c.Context())
				if err != nil {
					return err
				}
				for _, t := range tokens {
					if tokenID(t.Hash) == args[0] {
						return s.RevokeToken(c.Context(), t.Hash)
					}
				}
				return fail(exitFailed, "zeropass-server token list shows ids.", "there is no token %q", args[0])
			})
		},
	})
	data.add(c.Flags())
	return c
}
