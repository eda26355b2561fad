package main

import (
	"errors"
	"io"
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
	if _, err := os.Lstat(o.path); err == nil {
		return fail(exitFailed, "Name another file with --output, or move this one away.", "%s is there already, and is not overwritten", o.path)
	}
	if info, err := os.Stat(filepath.Dir(o.path)); err != nil || !info.IsDir() {
		return fail(exitFailed, "Make the directory first, or name another file with --output.", "there is no directory for %s", o.path)
	}
	return nil
}

// write writes all items into the file, readable by its owner alone. It is there
// whole or not at all. again says that an earlier try of this very run wrote it.
func (o *output) write(items []device.Item, again bool) error {
	failed := func(err error) error {
		return fail(exitFailed, hintUnwritable, "%s cannot be written: %s", o.path, pathCause(err))
	}
	if !again {
		if err := o.check(); err != nil {
			return err
		}
	}
	// What a killed run left behind is in the clear: its name can be seen, and this
	// run takes it away.
	unfinished := o.path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, os.ErrNotExist) {
		return failed(err)
	}
	f, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failed(err)
	}
	if err := errors.Join(o.encode(f, items), f.Sync(), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return failed(err)
	}
	if err := os.Rename(f.Name(), o.path); err != nil {
		_ = os.Remove(f.Name())
		return failed(err)
	}
	dir, err := os.Open(filepath.Dir(o.path))
	if err != nil {
		return failed(err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return failed(err)
	}
	return nil
}

func (o *output) encode(w io.Writer, items []device.Item) error {
	if o.format == formatText {
		return interchange.WriteText(w, items)
	}
	return interchange.WriteBitwarden(w, items)
}

func exportCommand(a *app) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:   "export --output FILE",
		Short: "Write all secrets into a file, in the clear",
		Long: `Write all secrets into a new file that other password managers, or people, can
read. It is not encrypted: whoever opens it reads everything in it.

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
			items, err := d.Export(cmd.Context())
			if err != nil {
				return err
			}
			if err := o.write(items, false); err != nil {
				return err
			}
			v := struct {
				File  string `json:"file"`
				Items int    `json:"items"`
			}{o.path, len(items)}
			return a.show(v, func() {
				a.say("%s written to %s.", count(len(items), "secret"), o.path)
				a.next("delete " + o.path + " as soon as you can: everybody who opens it can read it")
			})
		})
	})
	return c
}
