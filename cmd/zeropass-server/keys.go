package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/server"
)

// settled is how long after a change of the key file a key may retire: requests that
// a server began with the older keys have ended by then.
const settled = time.Minute

func keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Make the key file; look at, add, rotate and retire the keys that encrypt the data",
		Long: `The key file has the server's own keys, which never change, and encryption keys,
under which everything secret stands in the data. The first encrypts, all open. To
change it without stopping the server:

  zeropass-server keys add    --key-file FILE
  zeropass-server keys rotate --key-file FILE --data DIR
  zeropass-server keys retire --key-file FILE --data DIR ID

A running server takes up the changed file at once. Several servers with
copies of the file need the new key before one of them encrypts with it: add it with
--standby, copy the file to all, and then make it the first with keys use, and copy
the file again.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(keysCreateCommand(), keysListCommand(), keysAddCommand(), keysUseCommand(), keysRotateCommand(), keysRetireCommand())
	return c
}

func (o *dataOptions) openKeyFile(command string) (*server.KeyFile, error) {
	if o.keyFile == "" {
		return nil, usage("For instance --key-file /etc/zeropass/server-keys", "%s needs --key-file", command)
	}
	if isCredential(o.keyFile) {
		return nil, usage("Change the file that the credential is made from, and restart the server.", "--key-file %s: a credential cannot be changed", o.keyFile)
	}
	return server.OpenKeyFile(o.keyFile, time.Now)
}

func keysCreateCommand() *cobra.Command {
	var keyFile string
	var asJSON bool
	c := &cobra.Command{
		Use:   "create --key-file FILE",
		Short: "Make the key file of a new server, as serve does where it is missing",
		Long: `Make the key file of a new server, with mode 0600, as serve does where it is missing.
Where the key file is a credential of systemd's it must be there before the first
start. A file that is there is not touched.`,
		Args: noArgs,
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if keyFile == "" {
			return usage("For instance --key-file /etc/zeropass/server-keys", "keys create needs --key-file")
		}
		err := createKeys(keyFile)
		if errors.Is(err, fs.ErrExist) {
			return fail(exitFailed, "Name another file. If a server has data, this file is worth as much as they are.", "%s is there already, and is not overwritten", keyFile)
		}
		if err != nil {
			return err
		}
		keys, err := server.ReadKeys(keyFile)
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(c.OutOrStdout()).Encode(map[string]string{"file": keyFile, "fingerprint": keys.Fingerprint()})
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "made %s, key fingerprint %s: keep a copy of it apart from the data\n", keyFile, keys.Fingerprint())
		return err
	}
	c.Flags().StringVar(&keyFile, "key-file", "", "the file to make")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// keyView is a key as keys list prints it.
type keyView struct {
	ID       string `json:"id"`
	Encrypts bool   `json:"encrypts"`
	Things   *int64 `json:"things,omitempty"` // that stand under it, where the data were named
}

func keysListCommand() *cobra.Command {
	var o dataOptions
	var asJSON bool
	c := configured(&cobra.Command{
		Use:   "list --key-file FILE [--data DIR|--database URL]",
		Short: "List the encryption keys, and what stands under each where the data are named",
		Args:  noArgs,
	})
	c.RunE = func(c *cobra.Command, _ []string) error {
		file, err := o.openKeyFile("keys list")
		if err != nil {
			return err
		}
		var views []keyView
		for i, id := range file.IDs() {
			views = append(views, keyView{ID: id, Encrypts: i == 0})
		}
		if o.dir != "" || o.database.url != "" {
			if err := o.countUse(c, views); err != nil {
				return err
			}
		}
		return printKeys(c.OutOrStdout(), asJSON, views)
	}
	o.add(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (o *dataOptions) countUse(c *cobra.Command, views []keyView) (err error) {
	s, _, err := o.besideWithKeys(c.Context(), "keys list")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	use, err := s.KeyUse(c.Context())
	if err != nil {
		return err
	}
	for i := range views {
		n := use[views[i].ID]
		views[i].Things = &n
	}
	return nil
}

func printKeys(out io.Writer, asJSON bool, views []keyView) error {
	if asJSON {
		return json.NewEncoder(out).Encode(views)
	}
	for _, v := range views {
		what := "opens"
		if v.Encrypts {
			what = "encrypts"
		}
		if v.Things != nil {
			what += fmt.Sprintf(", %d things stand under it", *v.Things)
		}
		if _, err := fmt.Fprintln(out, v.ID, what); err != nil {
			return err
		}
	}
	return nil
}

// changedLine is what a change of the key file prints with --json.
type changedLine struct {
	ID     string `json:"id"`
	Before string `json:"before"` // file with the keys as they were
}

func printChange(out io.Writer, asJSON bool, line changedLine, what string) error {
	if asJSON {
		return json.NewEncoder(out).Encode(line)
	}
	_, err := fmt.Fprintf(out, "key %s %s\nthe key file as it was is %s: keep a copy of the new one first, then delete it\n", line.ID, what, line.Before)
	return err
}

func keysAddCommand() *cobra.Command {
	var o dataOptions
	var asJSON, standby bool
	c := configured(&cobra.Command{
		Use:   "add --key-file FILE",
		Short: "Add an encryption key, which encrypts from now on",
		Args:  noArgs,
	})
	c.RunE = func(c *cobra.Command, _ []string) error {
		file, err := o.openKeyFile("keys add")
		if err != nil {
			return err
		}
		id, before, err := file.Add(rand.Reader, standby)
		if err != nil {
			return err
		}
		what := "encrypts from now on"
		if standby {
			what = "opens, and encrypts after keys use " + id
		}
		return printChange(c.OutOrStdout(), asJSON, changedLine{id, before}, what)
	}
	o.add(c.Flags())
	c.Flags().BoolVar(&standby, "standby", false, "let it open alone, until keys use")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// oneID takes the id of one thing, which the command list of its group shows.
func oneID(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage(c.Parent().CommandPath()+" list shows the ids.", "%s takes one id", c.CommandPath())
	}
	return nil
}

func keysUseCommand() *cobra.Command {
	var o dataOptions
	var asJSON bool
	c := configured(&cobra.Command{
		Use:   "use --key-file FILE ID",
		Short: "Make an encryption key the one that encrypts",
		Args:  oneID,
	})
	c.RunE = func(c *cobra.Command, args []string) error {
		file, err := o.openKeyFile("keys use")
		if err != nil {
			return err
		}
		before, err := file.Use(args[0])
		if err != nil {
			return err
		}
		return printChange(c.OutOrStdout(), asJSON, changedLine{args[0], before}, "encrypts from now on")
	}
	o.add(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func keysRotateCommand() *cobra.Command {
	var o dataOptions
	var asJSON bool
	c := configured(&cobra.Command{
		Use:   "rotate --key-file FILE --data DIR|--database URL",
		Short: "Encrypt anew, under the first key, whatever stands under another one",
		Long: `Encrypt anew, under the first key, whatever stands under another one, in small
transactions beside a running server. It can be stopped at any time and run again.` + settingsUsage,
		Args: noArgs,
	})
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		s, keys, err := o.besideWithKeys(c.Context(), "keys rotate")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		m := newMeter(c.ErrOrStderr())
		n, err := server.Rotate(c.Context(), s, keys, rand.Reader, func(accounts, things int) {
			m.show("%d accounts, %d things encrypted anew", accounts, things)
		})
		m.done()
		if err != nil {
			return err
		}
		id := keys.EncryptionKeys()[0]
		if asJSON {
			return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"id": id, "things": n})
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%d things were encrypted anew under key %s\n", n, id)
		return err
	}
	o.add(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func keysRetireCommand() *cobra.Command {
	var o dataOptions
	var asJSON bool
	c := configured(&cobra.Command{
		Use:   "retire --key-file FILE --data DIR|--database URL ID",
		Short: "Take an encryption key out of the key file when nothing stands under it",
		Long: `Take an encryption key out of the key file. It is refused while anything stands under
the key, and for a minute after the key file was changed, when a server may still end
what it began. Backups that were made before the rotation need the key file as it was:
keep a copy of that for as long as them.` + settingsUsage,
		Args: oneID,
	})
	c.RunE = func(c *cobra.Command, args []string) error {
		before, err := o.retire(c, args[0])
		if err != nil {
			return err
		}
		return printChange(c.OutOrStdout(), asJSON, changedLine{args[0], before}, "is retired")
	}
	o.add(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (o *dataOptions) retire(c *cobra.Command, id string) (before string, err error) {
	file, err := o.openKeyFile("keys retire")
	if err != nil {
		return "", err
	}
	s, _, err := o.besideWithKeys(c.Context(), "keys retire")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if since := time.Since(file.Changed()); since < settled {
		return "", fail(exitFailed, "Run the same again then.", "the key file was changed just now: wait for %s", (settled - since).Round(time.Second))
	}
	if file.IDs()[0] == id {
		return "", server.ErrKeyInUse
	}
	use, err := s.KeyUse(c.Context())
	if err != nil {
		return "", err
	}
	if n := use[id]; n > 0 {
		return "", fail(exitFailed, "Run zeropass-server keys rotate first.", "%d things stand under key %s", n, id)
	}
	return file.Retire(id)
}
