package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"zeropass.dev/zeropass/internal/device"
)

func contactCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "contact",
		Short: "Give shares to people you trust",
		Long: `Contacts are people who each keep one share of your backup key. Enough of them
together, and a waiting period in which you can object, bring everything back when
you have lost every device. They can read nothing: not alone, not all together.

Becoming a contact takes three steps:

  1. you      zeropass contact invite NAME    and hand the invitation over
  2. they     zeropass contact accept         and read their eight words to you
  3. you      zeropass contact confirm NAME   when you have compared the words

Compare the words by voice or face to face. That is what keeps everybody else,
the server included, from taking your contact's place.`,
	}, inviteCommand(a), acceptCommand(a), confirmCommand(a), contactListCommand(a), paperCommand(a), replaceCommand(a), rebindCommand(a))
}

func inviteCommand(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "invite NAME",
		Short: "Make an invitation for one person",
		Long: `Make an invitation. NAME is what you call that person; only your devices see it.

The invitation is a secret: whoever has it can answer in that person's place until
you compare the words. Hand it over on a way that the server does not see: on
paper, as a QR code from screen to screen, by a messenger that you trust.`,
		Example: "zeropass contact invite Ann\nzeropass contact invite Ann --output ann.invitation",
		Args:    takes("NAME", true),
	}
	c.Flags().StringVar(&output, "output", "", "write the invitation into this new file instead of showing it")
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.with(cmd.Context(), func(d *device.Device) error {
			r, err := d.Invite(cmd.Context(), strings.Join(args, " "))
			if err != nil {
				return err
			}
			if output != "" {
				if err := writeSecretFile(output, func(w io.Writer) error {
					_, err := io.WriteString(w, r.Text+"\n")
					return err
				}); err != nil {
					return err
				}
			}
			v := struct {
				Label      string    `json:"label"`
				Invitation string    `json:"invitation,omitempty"`
				File       string    `json:"file,omitempty"`
				Expiry     time.Time `json:"expires"`
				Phrase     string    `json:"your_phrase"`
			}{r.Label, r.Text, output, r.Expiry.UTC(), r.Phrase}
			if output != "" {
				v.Invitation = ""
			}
			if a.json {
				return a.printJSON(v)
			}
			return a.showInvitation(r, output)
		})
	})
	return c
}

func (a *app) showInvitation(r *device.InviteResult, output string) error {
	if output != "" {
		a.say("The invitation for %s is in %s.", oneLine(r.Label), output)
	} else {
		a.say("The invitation for %s:", oneLine(r.Label))
		a.say("")
		a.say("%s", r.Text)
		if term.IsTerminal(int(a.out.Fd())) {
			a.say("")
			if err := a.printQR(r.Text); err != nil {
				return err
			}
		}
	}
	a.say("")
	a.say("Give it to nobody else. They answer it, once and before %s, with:", r.Expiry.Local().Format(time.DateOnly))
	a.say("zeropass contact accept")
	a.say("")
	a.say("Your eight words, which their screen must show as well:")
	a.say("")
	a.say("  %s", r.Phrase)
	a.next("when they have accepted, call them and run: zeropass contact confirm " + shellQuote(r.Label))
	return nil
}

func acceptCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "accept",
		Short: "Become somebody's contact",
		Long: `Answer an invitation: from then on this account helps its owner to get everything
back. You will keep one share. You can read nothing with it, and neither can
whoever takes it from you.

Before you ever approve a recovery, speak with the person, by voice or face to
face. A message is not enough: somebody else could have written it.

The invitation is asked for, or read from standard input or from a file.`,
		Example: "zeropass contact accept\nzeropass contact accept --invitation-file ann.invitation",
		Args:    takesNothing,
	}
	c.Flags().StringVar(&file, "invitation-file", "", "read the invitation from this file")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return a.with(ctx, func(d *device.Device) error {
			text, err := a.secretInput(ctx, file, "Invitation", true)
			if err != nil {
				return err
			}
			defer clear(text)
			if len(text) == 0 {
				return usage("Paste it, pipe it into standard input, or name a file with --invitation-file.", "no invitation was given")
			}
			r, err := d.Accept(ctx, string(text))
			if err != nil {
				return err
			}
			v := struct {
				Owner       string `json:"owner"`
				Account     string `json:"account"`
				OwnerPhrase string `json:"owner_phrase"`
				OwnPhrase   string `json:"your_phrase"`
			}{r.Owner, r.Account.String(), r.OwnerPhrase, r.OwnPhrase}
			return a.show(v, func() {
				owner := oneLine(r.Owner)
				a.say("You have answered the invitation of %s.", owner)
				a.say("")
				a.say("Call %s, or meet. Read these eight words out:", owner)
				a.say("")
				a.say("  %s", r.OwnPhrase)
				a.say("")
				a.say("And %s reads these to you:", owner)
				a.say("")
				a.say("  %s", r.OwnerPhrase)
				a.say("")
				a.say("If any word differs, stop: somebody stands between the two of you.")
				a.next("when " + owner + " has confirmed you, run: zeropass sync")
			})
		})
	})
	return c
}

func confirmCommand(a *app) *cobra.Command {
	var phrase string
	c := &cobra.Command{
		Use:   "confirm [NAME]",
		Short: "Confirm a contact whose eight words you have compared",
		Long: `Confirm that whoever answered your invitation is the person you meant it for, and
send them their share. Call them first, or meet: they read their eight words out,
and you compare.

On the terminal both phrases are shown and you say whether they match. Elsewhere
the words that they read out are given with --phrase; they are no secret.`,
		Example: `zeropass contact confirm Ann
zeropass contact confirm Ann --phrase "academic acid acne acquire acrobat activity actress adapt"`,
	}
	c.Flags().StringVar(&phrase, "phrase", "", "the eight words that the contact read out")
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		options := device.ConfirmOptions{Contact: strings.Join(args, " "), Phrase: phrase}
		if phrase == "" {
			if !a.interactive() {
				return usage("Give the words that they read out with --phrase.", "the eight words must be compared, and there is no terminal to ask on")
			}
			options.Compare = func(p device.Phrases) (bool, error) { return a.comparePhrases(ctx, p) }
		}
		return a.with(ctx, func(d *device.Device) error {
			r, err := d.Confirm(ctx, options)
			if err != nil {
				return err
			}
			v := struct {
				Name       string     `json:"name"`
				Account    string     `json:"account"`
				Member     uint64     `json:"member"`
				Epoch      uint64     `json:"epoch"`
				CountsFrom *time.Time `json:"counts_from,omitempty"`
				Sent       bool       `json:"share_sent"`
			}{r.Name, r.Account.String(), r.Member, r.Epoch, jsonTime(r.CountsFrom), r.Sent}
			return a.show(v, func() { a.showConfirmed(r) })
		})
	})
	return c
}

func (a *app) comparePhrases(ctx context.Context, p device.Phrases) (bool, error) {
	a.tell("Call %s, or meet. They read their eight words out:", oneLine(p.Contact))
	a.tell("")
	a.tell("  %s", p.Theirs)
	a.tell("")
	a.tell("And you read yours to them, which their screen shows as well:")
	a.tell("")
	a.tell("  %s", p.Owner)
	a.tell("")
	return a.askYes(ctx, "Did you hear and see the very same words?")
}

func (a *app) showConfirmed(r *device.ConfirmResult) {
	name := oneLine(r.Name)
	if r.Again {
		a.say("%s was your contact already and knows this device now.", name)
	} else {
		a.say("%s is your contact number %d.", name, r.Member)
	}
	if r.CountsFrom.After(time.Now()) {
		a.say("The share counts from %s on: changing contacts waits like a recovery does.", when(r.CountsFrom))
	}
	if r.Sent {
		a.say("The share is on its way, sealed to %s alone.", name)
		a.next("ask "+name+" to run: zeropass sync", "then run it yourself; zeropass status shows when the share is proved")
		return
	}
	a.say("The share has not been sent yet.")
	a.next("zeropass sync, which sends it")
}

func rebindCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rebind",
		Short: "Take the contacts over into a new epoch",
		Long: `Give your contacts their shares of an epoch that was prepared, after a recovery for
one. Their words were compared before, so nobody has to be called.`,
		Args: takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				r, err := d.Rebind(cmd.Context())
				if err != nil {
					return err
				}
				v := struct {
					Epoch uint64   `json:"epoch"`
					Bound []string `json:"bound"`
					Left  []string `json:"left,omitempty"`
				}{r.Epoch, append([]string{}, r.Bound...), r.Left}
				return a.show(v, func() {
					for _, name := range r.Bound {
						a.say("%s gets a share of epoch %d.", oneLine(name), r.Epoch)
					}
					for _, left := range r.Left {
						a.say("Not taken over: %s. It takes a new sheet.", oneLine(left))
					}
					if len(r.Bound) == 0 {
						a.say("Everybody who can be taken over has been.")
					}
					a.next("ask them to run: zeropass sync", "then run it yourself; zeropass status shows when the new epoch protects")
				})
			})
		}),
	}
}

// writeSecretFile writes a new file that its owner alone can read. What is there
// already is not touched, and nothing is left behind if writing fails.
func writeSecretFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fail(exitFailed, "Name another file, or move this one away.", "%s is there already", path)
	} else if err != nil {
		return fail(exitFailed, hintUnwritable, "%s cannot be written: %s", path, pathCause(err))
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(path)
		return fail(exitFailed, hintUnwritable, "%s cannot be written: %s", path, pathCause(err))
	}
	return nil
}
