package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/internal/store"
)

// backupFormat is in the first line of a backup, which is JSON; a copy of the store
// follows. All of it is encrypted by age, which also authenticates its end.
const backupFormat = "zeropass-server-backup v1"

// backupHeader says what is in a backup.
type backupHeader struct {
	Format   string    `json:"format"`
	Program  string    `json:"program"` // version
	Time     time.Time `json:"time"`
	Accounts int64     `json:"accounts"`
	Keys     string    `json:"server_keys"` // sign and seal key, hexadecimal
}

type backupOptions struct {
	data           dataOptions
	output         string
	directory      string
	keep           int
	recipients     []string
	recipientsFile string
	passphraseFile string
	json           bool
}

func backupCommand() *cobra.Command {
	var o backupOptions
	c := configured(&cobra.Command{
		Use:   "backup --data DIR|--database URL --output FILE|--directory DIR --recipient age1...|--recipients-file FILE|--passphrase-file FILE",
		Short: "Write an encrypted copy of all data, beside a running server",
		Long: `Write a copy of all data as they are at one moment, beside a running server. It is
the same for SQLite and PostgreSQL, and is restored into either. It is encrypted by
age (age-encryption.org) while it is written, to one or more recipients or with a
passphrase; nothing is ever on the disk in the clear.

With --directory the file's name says when it was made. With --keep as well, the
oldest of these files are deleted when the new one is whole.

The key file is not in it. Keep a copy of that elsewhere: the backup is worth nothing
without it, and whoever has both has all of the server's shares.` + settingsUsage,
		Args: noArgs,
	})
	c.RunE = func(c *cobra.Command, _ []string) error {
		header, size, err := o.backup(c.Context())
		if err != nil {
			return err
		}
		if o.json {
			return json.NewEncoder(c.OutOrStdout()).Encode(struct {
				backupHeader
				File  string `json:"file"`
				Bytes int64  `json:"bytes"`
			}{header, o.output, size})
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "wrote %s: %d accounts, %d bytes\n", o.output, header.Accounts, size)
		return err
	}
	flags := c.Flags()
	o.data.add(flags)
	flags.StringVar(&o.output, "output", "", "file to write, which must not be there")
	flags.StringVar(&o.directory, "directory", "", "directory for the file, instead of --output")
	flags.IntVar(&o.keep, "keep", 0, "how many backups to leave in --directory, 0 for all")
	flags.StringArrayVar(&o.recipients, "recipient", nil, "age recipient, age1...; may be given more than once")
	flags.StringVar(&o.recipientsFile, "recipients-file", "", "file with recipients of age, one in each line")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "file with a passphrase, instead of recipients")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// agents returns whom the backup is encrypted to.
func (o *backupOptions) agents() ([]age.Recipient, error) {
	if (len(o.recipients) == 0 && o.recipientsFile == "") == (o.passphraseFile == "") {
		return nil, usage("age-keygen makes an identity and names its recipient. Keep the identity away from this machine.", "backup needs either --recipient, --recipients-file or --passphrase-file")
	}
	if o.passphraseFile != "" {
		passphrase, err := readPassword(o.passphraseFile, "the backup's passphrase")
		if err != nil {
			return nil, err
		}
		r, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return nil, usage("Write one into the file.", "--passphrase-file %s: %v", o.passphraseFile, err)
		}
		return []age.Recipient{r}, nil
	}
	var all []age.Recipient
	for _, text := range o.recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, usage("It looks like age1 and 58 further characters, as age-keygen prints it.", "--recipient %s: not a recipient of age", text)
		}
		all = append(all, r)
	}
	if o.recipientsFile != "" {
		more, err := recipientsIn(o.recipientsFile)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func (o *backupOptions) backup(ctx context.Context) (header backupHeader, size int64, err error) {
	recipients, err := o.agents()
	if err != nil {
		return backupHeader{}, 0, err
	}
	if err := o.place(time.Now()); err != nil {
		return backupHeader{}, 0, err
	}
	s, err := o.data.besideWhole(ctx, "backup")
	if err != nil {
		return backupHeader{}, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = interchange.WriteFile(o.output, func(w io.Writer) (err error) {
		header, err = writeBackup(ctx, s, w, recipients)
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		err = fail(exitFailed, "Name another file, or move this one away.", "%s is there already, and is not overwritten", o.output)
	}
	if err != nil {
		return backupHeader{}, 0, err
	}
	if o.keep > 0 {
		if err := discard(o.directory, o.output, o.keep); err != nil {
			return backupHeader{}, 0, fail(exitFailed, "Delete old backups yourself.", "%s was written, but older backups could not be deleted: %v", o.output, err)
		}
	}
	info, err := os.Stat(o.output)
	if err != nil {
		return backupHeader{}, 0, err
	}
	return header, info.Size(), nil
}

func writeBackup(ctx context.Context, s store.Maintained, w io.Writer, recipients []age.Recipient) (backupHeader, error) {
	encrypted, err := age.Encrypt(w, recipients...)
	if err != nil {
		return backupHeader{}, err
	}
	header := backupHeader{Format: backupFormat, Program: programVersion(), Time: time.Now().UTC().Truncate(time.Second)}
	if err := s.Export(ctx, encrypted, func(c store.Copy) error {
		header.Accounts, header.Keys = c.Accounts, hex.EncodeToString(c.Keys)
		return json.NewEncoder(encrypted).Encode(header)
	}); err != nil {
		return backupHeader{}, err
	}
	return header, encrypted.Close()
}

func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
