package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/internal/device"
)

const (
	formatBitwarden = "bitwarden-json"
	formatText      = "text"
)

const hintUnwritable = "See that there is room and that you may write there, or name another file with --output; then run the command again."

// output is where secrets are written in the clear, and how.
type output struct{ path, format string }

func (o *output) register(c *cobra.Command, what string) {
	c.Flags().StringVar(&o.path, "output", "", what)
	c.Flags().StringVar(&o.format, "format", "", "the file is bitwarden-json, or text for a person to read (text if the file ends in .txt)")
	must(c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{formatBitwarden, formatText}, cobra.ShellCompDirectiveNoFileComp)))
}

// check refuses what cannot be written before anybody waits for it.
func (o *output) check() error {
	if err := o.checkPlace(); err != nil || o.path == "" {
		return err
	}
	if _, err := os.Lstat(o.path); err == nil {
		return fail(exitFailed, hintTaken, "%s is there already, and is not overwritten", o.path)
	}
	return nil
}

// checkPlace is check for a file that an earlier run may have written. It takes
// away what a killed run left behind: that is in the clear.
func (o *output) checkPlace() error {
	if o.format == "" {
		o.format = formatBitwarden
		if strings.EqualFold(filepath.Ext(o.path), ".txt") {
			o.format = formatText
		}
	}
	if o.format != formatBitwarden && o.format != formatText {
		return usage("It can be bitwarden-json or text.", "there is no format %q", o.format)
	}
	if o.path == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(o.path)); err != nil || !info.IsDir() {
		return fail(exitFailed, "Make the directory first, or name another file with --output.", "there is no directory for %s", o.path)
	}
	if err := interchange.RemoveUnfinished(o.path); err != nil {
		return o.unwritable(err)
	}
	return nil
}

const hintTaken = "Name another file with --output, or move this one away."

func (o *output) unwritable(err error) error {
	return fail(exitFailed, hintUnwritable, "%s cannot be written: %s", o.path, pathCause(err))
}

// write writes all items into a new file, readable by its owner alone. It is
// there whole or not at all.
func (o *output) write(items []device.Item) error {
	err := interchange.WriteFile(o.path, o.encoder(items))
	switch {
	case errors.Is(err, fs.ErrExist):
		return o.check()
	case err != nil:
		return o.unwritable(err)
	}
	return nil
}

// writeOnce is write for a command that is run until it is done: a file that
// holds just these items stands, so that they are in the clear in one place.
// again says that this very run wrote it.
func (o *output) writeOnce(items []device.Item, again bool) error {
	err := interchange.KeepFile(o.path, o.encoder(items))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return o.write(items)
	case !errors.Is(err, interchange.ErrDiffers):
		return fail(exitFailed, hintUnwritable, "%s cannot be read: %s", o.path, pathCause(err))
	case !again:
		return fail(exitFailed, hintTaken+" Then run the command again.", "%s is there already with something else in it, and is not overwritten", o.path)
	}
	if err := interchange.ReplaceFile(o.path, o.encoder(items)); err != nil {
		return o.unwritable(err)
	}
	return nil
}

func (o *output) encoder(items []device.Item) func(io.Writer) error {
	return func(w io.Writer) error {
		if o.format == formatText {
			return interchange.WriteText(w, items)
		}
		return interchange.WriteBitwarden(w, items)
	}
}

func exportCommand(a *app) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:   "export --output FILE",
		Short: "Write all secrets into a file, in the clear",
		Long: `Write all secrets into a new file that other password managers, or people, can
read. It is not encrypted: whoever opens it reads everything in it.

A secret that does not open is named, the file has all others, and the command
ends with 1.

It takes the second factor, and stands in the activity log as a bulk reveal.`,
		Example: "zeropass export --output everything.json\nzeropass export --output everything.txt",
		Args:    takesNothing,
	}
	o.register(c, "the new file to write")
	must(c.MarkFlagRequired("output"))
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		return a.with(cmd.Context(), func(d *device.Device) error {
			items, lost, err := d.Export(cmd.Context())
			if err != nil {
				return err
			}
			if err := o.write(items); err != nil {
				return err
			}
			return a.showExport(o.path, len(items), lost)
		})
	})
	return c
}

// showExport says what is in the file, and fails if that is not everything.
func (a *app) showExport(path string, items int, lost []device.LostItem) error {
	v := struct {
		File  string     `json:"file"`
		Items int        `json:"items"`
		Lost  []lostView `json:"lost"`
	}{path, items, lostJSON(lost)}
	err := a.show(v, func() {
		a.say("%s written to %s.", count(items, "secret"), path)
		a.section("Could not be opened", lostLines(v.Lost))
		a.next("delete " + path + " as soon as you can: everybody who opens it can read it")
	})
	if err == nil && len(lost) > 0 {
		return fail(exitFailed, "Store them again, or take them out with: "+deleteLost(lost)+".", "%s was written without everything: %s not open", path, doesOrDo(len(lost)))
	}
	return err
}
