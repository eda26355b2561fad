package main

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/internal/device"
)

func listCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list [SEARCH]",
		Short: "List what is kept, without showing secrets",
		Long: `List titles, user names and addresses. It needs neither the server nor the second
factor, and shows no secret. Words after it must all be found in a title, user
name, address or folder.`,
		Example: "zeropass list\nzeropass list github",
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				entries, err := d.List(strings.Join(args, " "))
				if err != nil {
					return err
				}
				views := make([]entryView, 0, len(entries))
				for i := range entries {
					views = append(views, entryJSON(&entries[i]))
				}
				return a.show(views, func() { a.showList(views, len(args) > 0) })
			})
		}),
	}
}

func (a *app) showList(views []entryView, searched bool) {
	switch {
	case len(views) == 0 && searched:
		a.say("Nothing fits.")
		return
	case len(views) == 0:
		a.say("Nothing is kept here yet.")
		a.next("zeropass add --title TITLE, or zeropass import --format bitwarden-json FILE")
		return
	}
	rows := [][]string{{"ID", "KIND", "TITLE", "USER", "FOLDER"}}
	waiting := 0
	for _, v := range views {
		title := oneLine(v.Title)
		if !v.Accepted {
			title += " *"
			waiting++
		}
		rows = append(rows, []string{v.ID[:8], v.Kind, title, oneLine(v.User), oneLine(v.Folder)})
	}
	table(a.out, a.width(), rows)
	if waiting > 0 {
		a.say("")
		a.say("* on this device only; zeropass sync sends it to the server")
	}
}

func editCommand(a *app) *cobra.Command {
	var m metadataFlags
	var name, file string
	c := &cobra.Command{
		Use:   "edit TITLE|ID",
		Short: "Change a secret or what is known about it",
		Long: `Change a secret. Title, user name, address and folder are given as flags; a field
of the secret is named with --field, and its new value is asked for, or read from
standard input or from a file. What is not named stays as it is.

The earlier version stays in the ledger until the next epoch.`,
		Example: `zeropass edit github.com --field password
zeropass edit github.com --title GitHub --folder Work
# An SSH key from a file
zeropass edit server --field private-key --secret-file id_ed25519`,
		Args: takes("TITLE or ID", true),
	}
	m.register(c)
	c.Flags().StringVar(&name, "field", "", "change this field: password, totp, notes, number, or one of your own")
	c.Flags().StringVar(&file, "secret-file", "", "read the field's new value from this file")
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if name == "" && !anyChanged(cmd, "title", "user", "url", "folder", "favorite") {
			return usage("Name a field with --field, or give --title, --user, --url, --folder or --favorite.", "nothing to change was given")
		}
		return a.with(ctx, func(d *device.Device) error {
			entry, err := d.Find(strings.Join(args, " "))
			if err != nil {
				return err
			}
			item, err := d.Get(ctx, entry.ID.String())
			if err != nil {
				return err
			}
			m.apply(cmd, item.Metadata)
			if name != "" {
				if err := a.changeField(ctx, item, name, file); err != nil {
					return err
				}
			}
			r, err := d.Edit(ctx, entry.ID, *item)
			if err != nil {
				return err
			}
			return a.showStored(r, "Changed")
		})
	})
	return c
}

func anyChanged(c *cobra.Command, names ...string) bool {
	for _, name := range names {
		if c.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// changeField sets a field; a password that is replaced joins the history.
func (a *app) changeField(ctx context.Context, item *device.Item, name, file string) error {
	f, unknown := findField(fieldsOf(item.Secret), name)
	if unknown != nil {
		return unknown
	}
	value, err := a.readField(ctx, f.name, file)
	if err != nil {
		return err
	}
	if f.name == "password" && !f.own && f.value != "" && f.value != value {
		item.Secret.PasswordHistory = append([]*recordv1.PastPassword{{
			Password: f.value, LastUsed: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		}}, item.Secret.PasswordHistory...)
	}
	f.set(value)
	return nil
}

func deleteCommand(a *app) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "delete TITLE|ID",
		Short: "Delete a secret",
		Long: `Delete a secret. It is gone from the list at once, and from what a recovery brings
back. Its sealed record stays in the ledger until the next epoch.`,
		Example: "zeropass delete old.example",
		Args:    takes("TITLE or ID", true),
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return a.with(ctx, func(d *device.Device) error {
			entry, err := d.Find(strings.Join(args, " "))
			if err != nil {
				return err
			}
			title := oneLine(entry.Metadata.GetTitle())
			if err := a.confirmStep(ctx, yes, "Delete "+title+" ("+shortID(entry.ID)+")?"); err != nil {
				return err
			}
			if err := d.Delete(ctx, entry.ID); err != nil {
				return err
			}
			v := struct {
				ID      string `json:"id"`
				Deleted bool   `json:"deleted"`
			}{entry.ID.String(), true}
			return a.show(v, func() { a.say("Deleted: %s (%s)", title, shortID(entry.ID)) })
		})
	})
	return c
}

// confirmStep asks before something that cannot be taken back. Without a
// terminal --yes must have said it.
func (a *app) confirmStep(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.interactive() {
		return usage("Say it with --yes.", "this must be confirmed, and there is no terminal to ask on")
	}
	sure, err := a.askYes(ctx, question)
	if err == nil && !sure {
		err = fail(exitFailed, "", "nothing was changed")
	}
	return err
}

func importCommand(a *app) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "import --format bitwarden-json FILE",
		Short: "Bring secrets over from another password manager",
		Long: `Read another password manager's export and keep all of its items, whatever their
kind, losing nothing of them. Either all are imported or none. FILE may be - for
standard input.

The export itself is not encrypted: delete it when the import is done.`,
		Example: "zeropass import --format bitwarden-json bitwarden_export.json",
		Args:    takes("FILE", false),
	}
	c.Flags().StringVar(&format, "format", "", "the file's format: bitwarden-json")
	must(c.MarkFlagRequired("format"), c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"bitwarden-json"}, cobra.ShellCompDirectiveNoFileComp)))
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		if format != "bitwarden-json" {
			return usage("The one format so far is bitwarden-json: Bitwarden's unencrypted .json export.", "there is no format %q", format)
		}
		items, err := a.readImport(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), func(d *device.Device) error {
			r, err := d.Import(cmd.Context(), items)
			if err != nil {
				return err
			}
			v := struct {
				Imported int  `json:"imported"`
				Skipped  int  `json:"skipped"`
				Accepted bool `json:"accepted"`
			}{r.Added, r.Skipped, r.Accepted}
			return a.show(v, func() {
				a.say("Imported %s.", count(v.Imported, "item"))
				if v.Skipped > 0 {
					a.say("%s had been imported before.", count(v.Skipped, "item"))
				}
				if !v.Accepted {
					a.notAccepted(r.Cause)
				} else if args[0] != "-" {
					a.next("delete " + args[0] + ": everybody who opens it can read the secrets in it")
				}
			})
		})
	})
	return c
}

func (a *app) readImport(ctx context.Context, path string) ([]device.Item, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = a.readInput(ctx)
	} else {
		text, err = readFile(path)
	}
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return interchange.ReadBitwarden(bytes.NewReader(text))
}
