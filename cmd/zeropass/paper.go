package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"zeropass.dev/zeropass/internal/device"
)

func paperCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "paper",
		Short: "Give a share to a sheet of paper",
		Long: `Give one of the shares to a sheet of paper instead of a person. Keep it where you
find it when everything else is lost, away from this device.`,
	}, paperPrintCommand(a), paperConfirmCommand(a))
}

func paperPrintCommand(a *app) *cobra.Command {
	var file, name string
	c := &cobra.Command{
		Use:   "print",
		Short: "Show a share, to be written down or printed",
		Long: `Show the words of a share, to be written down, or write it as a page for a printer
with --pdf. Until you type them back
with "zeropass contact paper confirm" they can be shown again; after that the paper
alone has them.

A name says which paper it is, or where you will keep it. Only your devices see it.`,
		Example: "zeropass contact paper print --pdf - | lpr\nzeropass contact paper print --name \"in the bank\"",
		Args:    takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if err := a.checkPage(file); err != nil {
				return err
			}
			return a.with(cmd.Context(), func(d *device.Device) error {
				r, err := d.BindPaper(cmd.Context(), name)
				if err != nil {
					return err
				}
				if file != "" {
					if err := a.showPage(r.Page, file); err != nil {
						return err
					}
					a.note("Next: type the words back from the paper: zeropass contact paper confirm")
					return nil
				}
				if a.json {
					return a.printJSON(struct {
						Epoch      uint64     `json:"epoch"`
						Member     uint64     `json:"member"`
						Quorum     int        `json:"quorum"`
						CountsFrom *time.Time `json:"counts_from,omitempty"`
						Words      string     `json:"words"`
						QR         string     `json:"qr"`
					}{r.Epoch, r.Member, r.Quorum, jsonTime(r.CountsFrom), r.Words, r.QR})
				}
				a.say("ZeroPass share %d of %s, account %s, epoch %d", r.Member, oneLine(d.Name()), d.Account().String()[:8], r.Epoch)
				a.say("Any %d shares like this one bring everything back.", r.Quorum)
				a.showWords(r.Words)
				if term.IsTerminal(int(a.out.Fd())) {
					a.say("")
					if err := a.printQR(r.QR); err != nil {
						return err
					}
				}
				a.next("write the words down, then type them back from the paper: zeropass contact paper confirm")
				return nil
			})
		}),
	}
	c.Flags().StringVar(&name, "name", "", "what you call this paper")
	pdfFlag(c, &file)
	return c
}

// wordsFlag gives a command the flag for words that are typed, and returns what
// reads them. The caller erases them.
func (a *app) wordsFlag(c *cobra.Command) func(context.Context) ([]byte, error) {
	var file string
	c.Flags().StringVar(&file, "words-file", "", "read the words from this file")
	return func(ctx context.Context) ([]byte, error) { return a.secretInput(ctx, file, "Words", false) }
}

// withWords reads words, uses them and erases them.
func withWords[R any](ctx context.Context, read func(context.Context) ([]byte, error), use func(context.Context, string) (*R, error)) (*R, error) {
	words, err := read(ctx)
	if err != nil {
		return nil, err
	}
	defer clear(words)
	return use(ctx, string(words))
}

func paperConfirmCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "confirm",
		Short: "Type the words back from the paper",
		Long: `Type the words back from the paper. That proves the paper, and from then on it alone
has the share.`,
		Args: takesNothing,
	}
	words := a.wordsFlag(c)
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return a.with(ctx, func(d *device.Device) error {
			r, err := withWords(ctx, words, d.ConfirmPaper)
			if err != nil {
				return err
			}
			v := struct {
				Epoch  uint64 `json:"epoch"`
				Member uint64 `json:"member"`
			}{r.Epoch, r.Member}
			return a.show(v, func() {
				a.say("The paper has proved share %d. Nothing else has it now.", r.Member)
				a.next("zeropass sync, then zeropass status to see what is still missing")
			})
		})
	})
	return c
}
