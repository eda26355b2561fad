package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/sheet"
)

func sheetCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "sheet",
		Short: "Print the sheet that is worth a quorum",
		Long: `Print the sheet of an epoch that has one: see zeropass rotate --printed. It is worth
as much as a quorum of contacts. Together with the server, or with one of your
devices and its passphrase, it opens everything: keep it away from your devices,
where nobody but you finds it.`,
	}, sheetPrintCommand(a), sheetConfirmCommand(a))
}

func sheetPrintCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "print",
		Short: "Show the sheet, or write it for a printer",
		Long: `Show the sheet as text, or write it as a page for a printer with --pdf. It takes the
second factor, on the device that made the epoch.

Until you type its words back with "zeropass sheet confirm" it can be shown again;
after that the paper alone has it. To keep it off the disk, pipe it to the printer.`,
		Example: "zeropass sheet print --pdf - | lpr\nzeropass sheet print --pdf sheet.pdf\nzeropass sheet print",
		Args:    takesNothing,
	}
	pdfFlag(c, &file)
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if err := a.checkPage(file); err != nil {
			return err
		}
		return a.with(ctx, func(d *device.Device) error {
			page, err := d.PrintSheet(ctx)
			if err != nil {
				return err
			}
			if err := a.showPage(page, file); err != nil {
				return err
			}
			a.note("Next: type the words back from the paper: zeropass sheet confirm")
			return nil
		})
	})
	return c
}

func pdfFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "pdf", "", "write a page for a printer into this new file; - is standard output")
}

// checkPage refuses what cannot be written before anybody waits for it.
func (a *app) checkPage(file string) error {
	switch {
	case file != "-":
		return nil
	case a.json:
		return usage("Leave one of the two away, or name a file.", "--json and --pdf - both write to standard output")
	case term.IsTerminal(int(a.out.Fd())):
		return usage("Pipe it to a printer, as in: zeropass sheet print --pdf - | lpr", "a page for a printer cannot be shown on a terminal")
	}
	return nil
}

// showPage writes a page as PDF where a file is named, and shows it as text
// otherwise.
func (a *app) showPage(page *sheet.Sheet, file string) error {
	if file != "" {
		if err := a.writePage(page, file); err != nil || file == "-" {
			return err
		}
	}
	switch {
	case a.json:
		v := struct {
			Epoch  uint64 `json:"epoch"`
			Member uint64 `json:"member,omitempty"`
			Quorum int    `json:"quorum"`
			File   string `json:"file,omitempty"`
			Words  string `json:"words,omitempty"`
			QR     string `json:"qr,omitempty"`
		}{page.Epoch, page.Member, page.Quorum, file, page.Words, page.QR}
		if file != "" {
			v.Words, v.QR = "", ""
		}
		return a.printJSON(v)
	case file != "":
		a.say("The page is in %s. Print it, then delete the file: whoever opens it has the share.", file)
		return nil
	}
	text := page.Text()
	defer clear(text)
	if _, err := a.out.Write(text); err != nil {
		return err
	}
	if term.IsTerminal(int(a.out.Fd())) {
		a.say("")
		return a.printQR(page.QR)
	}
	return nil
}

func (a *app) writePage(page *sheet.Sheet, file string) error {
	pdf, err := page.PDF()
	if err != nil {
		return err
	}
	defer clear(pdf)
	if file == "-" {
		_, err := a.out.Write(pdf)
		return err
	}
	err = sheet.Write(file, pdf)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fail(exitFailed, "Name another file with --pdf, or move this one away.", "%s is there already, and is not overwritten", file)
	case err != nil:
		return fail(exitFailed, "Name another file with --pdf; then run the command again.", "%s cannot be written: %s", file, pathCause(err))
	}
	return nil
}

func sheetConfirmCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "confirm",
		Short: "Type the words back from the sheet",
		Long: `Type all 92 words back from the paper, in one line. That proves the sheet, and this
device erases what it keeps of it: from then on the paper alone has it.`,
		Args: takesNothing,
	}
	words := a.wordsFlag(c)
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return a.with(ctx, func(d *device.Device) error {
			r, err := withWords(ctx, words, d.ConfirmSheet)
			if err != nil {
				return err
			}
			v := struct {
				Epoch uint64 `json:"epoch"`
			}{r.Epoch}
			return a.show(v, func() {
				a.say("The sheet of epoch %d is proved. Nothing else has it now.", r.Epoch)
				if !r.From.IsZero() {
					a.say("It counts when the epoch is committed, on %s at the earliest.", when(r.From))
				}
				a.next("zeropass sync, then zeropass status to see what is still missing")
			})
		})
	})
	return c
}

func recoverSheetCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "sheet",
		Short: "Type the words of the printed sheet",
		Long: `Approve with the printed sheet: its 92 words are typed here, on the new device, in
one line. It is worth a quorum of contacts. The waiting period passes all the same,
and your other devices can veto.`,
		Args: takesNothing,
	}
	words := a.wordsFlag(c)
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return a.withRecovery(ctx, func(d *device.Device) (*device.RecoveryResult, error) {
			return withWords(ctx, words, d.AddSheet)
		})
	})
	return c
}
