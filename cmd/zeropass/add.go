package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/device"
)

// metadataFlags are what an unlocked device shows of a slot. None of it is
// secret, so it may stand in arguments.
type metadataFlags struct {
	title, user, folder string
	urls                []string
	favorite            bool
}

func (m *metadataFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&m.title, "title", "", "what the secret is called")
	flags.StringVar(&m.user, "user", "", "the user name that belongs to it")
	flags.StringArrayVar(&m.urls, "url", nil, "the address where it is used; may be given several times")
	flags.StringVar(&m.folder, "folder", "", "the folder that it is in")
	flags.BoolVar(&m.favorite, "favorite", false, "mark it as a favourite")
}

// apply puts what was given into the metadata.
func (m *metadataFlags) apply(c *cobra.Command, to *recordv1.SlotMetadata) {
	given := c.Flags().Changed
	if given("title") {
		to.Title = m.title
	}
	if given("user") {
		to.UserName = m.user
	}
	if given("folder") {
		to.Folder = m.folder
	}
	if given("favorite") {
		to.Favorite = m.favorite
	}
	if given("url") {
		to.Uris = nil
		for _, url := range m.urls {
			if url != "" {
				to.Uris = append(to.Uris, &recordv1.Uri{Uri: url})
			}
		}
	}
}

func addCommand(a *app) *cobra.Command {
	var m metadataFlags
	var kind, file string
	var lines bool
	c := &cobra.Command{
		Use:   "add",
		Short: "Keep a secret",
		Long: `Keep a secret: a login, a note, a card, an identity or an SSH key.

The secret itself is asked for on the terminal, or read from standard input or
from a file; never from the arguments, which other users of the machine can see.
For a login it is the password, for a note its text, for an SSH key the private
key. Cards and identities have several fields: on the terminal each is asked for,
elsewhere each stands in a line of its own, as in "number: 4111 1111". With
--fields a login takes its fields that way too: password, totp, notes.`,
		Example: `zeropass add --title github.com --user ada --url https://github.com
# A note from a file
zeropass add --title "Recovery codes" --kind note --secret-file codes.txt
# A password that another program makes
pwgen -s 24 1 | zeropass add --title mail.example --user ada@mail.example`,
		Args: takesNothing,
	}
	m.register(c)
	flags := c.Flags()
	flags.StringVar(&kind, "kind", "login", "login, note, card, identity or ssh-key")
	flags.StringVar(&file, "secret-file", "", "read the secret from this file")
	flags.BoolVar(&lines, "fields", false, `read lines of the form "name: value"`)
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		item, main, err := newItem(kind)
		if err != nil {
			return err
		}
		m.apply(cmd, item.Metadata)
		if item.Metadata.Title == "" {
			if err := a.askTitle(ctx, item.Metadata); err != nil {
				return err
			}
		}
		return a.with(ctx, func(d *device.Device) error {
			if lines {
				main = ""
			}
			if err := a.readSecret(ctx, item.Secret, main, file); err != nil {
				return err
			}
			r, err := d.Add(ctx, item)
			if err != nil {
				return err
			}
			return a.showStored(r, "Kept")
		})
	})
	must(c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"login", "note", "card", "identity", "ssh-key"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

// newItem makes an empty item and names the field that a bare secret goes to.
func newItem(kind string) (item device.Item, main string, err error) {
	for _, k := range kinds {
		if k.name != kind {
			continue
		}
		if secret := newSecret(k.kind); secret != nil {
			return device.Item{Metadata: &recordv1.SlotMetadata{Kind: k.kind}, Secret: secret}, k.main, nil
		}
	}
	return device.Item{}, "", usage("It can be login, note, card, identity or ssh-key.", "there is no kind %q", kind)
}

func (a *app) askTitle(ctx context.Context, m *recordv1.SlotMetadata) error {
	if !term.IsTerminal(int(a.in.Fd())) {
		return usage("Give it one with --title.", "the secret needs a title")
	}
	title, err := a.ask(ctx, "Title: ", false)
	if err != nil {
		return err
	}
	if m.Title = strings.TrimSpace(string(title)); m.Title == "" {
		return usage("Give it one with --title.", "the secret needs a title")
	}
	return nil
}

// readSecret fills in a secret: one bare field where main names it, lines of
// fields otherwise, and on a terminal a question for each field.
func (a *app) readSecret(ctx context.Context, secret *recordv1.Secret, main, file string) error {
	terminal := file == "" && term.IsTerminal(int(a.in.Fd()))
	switch {
	case terminal && main == "":
		return a.askFields(ctx, fieldsOf(secret))
	case main == "":
		text, err := a.secretInput(ctx, file, "Secret", true)
		if err != nil {
			return err
		}
		defer clear(text)
		return parseFields(secret, string(text))
	}
	f, unknown := findField(fieldsOf(secret), main)
	if unknown != nil {
		return unknown
	}
	value, err := a.readField(ctx, f.name, file)
	if err != nil {
		return err
	}
	if value == "" {
		return usage("Type it, pipe it into standard input, or name a file with --secret-file.", "no secret was given")
	}
	f.set(value)
	return nil
}

// readField reads one field's value. What has several lines ends on a terminal
// with Ctrl-D; a hidden value is typed twice.
func (a *app) readField(ctx context.Context, name, file string) (string, error) {
	label := sentenceStart(strings.ReplaceAll(name, "-", " "))
	if file != "" || !term.IsTerminal(int(a.in.Fd())) {
		text, err := a.secretInput(ctx, file, label, true)
		defer clear(text)
		return string(text), err
	}
	if severalLines(name) {
		a.tell("%s; end with Ctrl-D in a line of its own:", label)
		text, err := a.readInput(ctx)
		defer clear(text)
		return string(trimLine(text)), err
	}
	if !hidden(name) {
		line, err := a.ask(ctx, label+": ", false)
		return string(line), err
	}
	line, err := a.chooseFor(ctx, "", "--secret-file", label)
	defer clear(line)
	return string(line), err
}

// askFields asks for every field; an empty line leaves one out.
func (a *app) askFields(ctx context.Context, fields []field) error {
	a.tell("Press Enter to leave a field empty.")
	for _, f := range fields {
		if severalLines(f.name) && f.name != "notes" {
			continue // too long to type; edit takes it from a file
		}
		line, err := a.ask(ctx, sentenceStart(strings.ReplaceAll(f.name, "-", " "))+": ", hidden(f.name))
		if err != nil {
			return err
		}
		f.set(strings.TrimSpace(string(line)))
		clear(line)
	}
	return nil
}

// severalLines tells which fields are more than a line.
func severalLines(name string) bool {
	return name == "notes" || name == "private-key" || name == "fido2"
}

// hidden tells which fields are not shown while they are typed.
func hidden(name string) bool {
	switch name {
	case "password", "totp", "number", "code", "ssn", "passport-number", "license-number":
		return true
	}
	return false
}

// showStored says what became of a slot that was written.
func (a *app) showStored(r *device.AddResult, done string) error {
	v := struct {
		ID       string `json:"id"`
		Title    string `json:"title"`
		Accepted bool   `json:"accepted"`
	}{r.ID.String(), r.Title, r.Accepted}
	err := a.show(v, func() {
		if r.Accepted {
			a.say("%s: %s (%s)", done, oneLine(r.Title), shortID(r.ID))
			return
		}
		a.say("%s on this device only: %s (%s)", done, oneLine(r.Title), shortID(r.ID))
		a.notAccepted(r.Cause)
	})
	if cause, ok := errors.AsType[*device.Error](r.Cause); err == nil && ok && unconfirmed(cause) {
		return answered(cause.Code)
	}
	return err
}

// unconfirmed says whether a change waits for another device, or was refused there.
func unconfirmed(cause error) bool {
	return errors.Is(cause, device.ErrUnconfirmed) || errors.Is(cause, device.ErrStale)
}

// notAccepted says why something is on this device alone, and what to do.
func (a *app) notAccepted(cause error) {
	a.say("The server has not accepted it, so losing this device now would lose it.")
	if cause != nil {
		a.say("Why: %s.", strings.TrimSuffix(oneParagraph(cause.Error()), "."))
	}
	if unconfirmed(cause) {
		a.next("zeropass sync --wait, which asks again; on another device: zeropass confirm")
		return
	}
	a.next("zeropass sync, when the server can be reached")
}
