package main

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/keystore"
)

func keystoreCommand(a *app) *cobra.Command {
	show := &cobra.Command{
		Use:   "keystore",
		Short: "Show or change what opens this device in daily use",
		Long: `Show what opens this device in daily use, and whether it works; the commands below
change it. Changing it takes the passphrase.

The passphrase always opens this device, and a copy of its directory on any
machine. Beside it, this machine can keep the device secret: in its TPM, with a
PIN if you like, or in the desktop's keyring. Then commands ask for the PIN or for
nothing, and for the passphrase only if that does not work or if you give
--passphrase-file. Showing a secret takes the second factor as before.`,
		Example: "zeropass device keystore\nzeropass device keystore tpm --pin\nzeropass device keystore passphrase",
		Args:    takesNothing,
	}
	show.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		dir, err := a.existingHome()
		if err != nil {
			return err
		}
		h, err := home.OpenReadOnly(dir)
		if err != nil {
			return err
		}
		defer h.Close()
		v, err := a.tryKeystore(cmd.Context(), h)
		if err != nil {
			return err
		}
		if err := a.show(v, func() { a.showKeystore(v) }); err != nil {
			return err
		}
		if v.Problem != "" {
			return answered(exitFailed)
		}
		return nil
	})
	show.AddCommand(keystoreTPMCommand(a), keystoreKeyringCommand(a), keystorePassphraseCommand(a))
	return show
}

func keystoreTPMCommand(a *app) *cobra.Command {
	var askPIN bool
	c := &cobra.Command{
		Use:   "tpm",
		Short: "Let this machine's TPM open this device",
		Long: `Seal the device secret in the TPM 2.0 of this machine. With a PIN, the TPM opens it
for that PIN alone and refuses to be asked for some time after too many wrong ones,
so the PIN may be short. Without one, whoever can run programs as you opens this
device.

The TPM is /dev/tpmrm0, which on most systems takes membership in the group tss, or
what ZEROPASS_TPM names: another device, or the Unix socket of a swtpm.`,
		Example: "zeropass device keystore tpm --pin\nzeropass device keystore tpm --pin-file FILE",
		Args:    takesNothing,
	}
	c.Flags().BoolVar(&askPIN, "pin", false, "choose a PIN at the terminal")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		return a.changeKeystore(cmd.Context(), func(h *home.Home, secret []byte) (*keystore.Record, error) {
			var pin []byte
			if askPIN || a.pinFile != "" {
				if a.pinFile == "" && !a.interactive() {
					return nil, usage("Give it with --pin-file FILE.", "a PIN must be chosen, and there is no terminal to ask on")
				}
				var err error
				if pin, err = a.chooseFor(cmd.Context(), a.pinFile, "--pin-file", "PIN"); err != nil {
					return nil, err
				}
				a.pin = pin
				if err := checkPIN(h, pin); err != nil {
					return nil, err
				}
			}
			return keystore.SealTPM(tpmPath(), secret, pin)
		})
	})
	return c
}

// checkPIN refuses the confirm passphrase as a PIN.
func checkPIN(h *home.Home, pin []byte) error {
	key, err := h.ConfirmKey(pin)
	if err == nil {
		key.Erase()
		return usage("The confirm passphrase is the second factor: choose another PIN.", "the PIN and the confirm passphrase would be the same")
	}
	if errors.Is(err, home.ErrPassphrase) {
		return nil
	}
	return err
}

func keystoreKeyringCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "keyring",
		Short: "Let the desktop's keyring open this device",
		Long: `Put the device secret into the desktop's keyring, encrypted under a key that lies
in this device's directory: neither opens anything without the other. While your
session is unlocked, whoever can run programs as you opens this device.`,
		Example: "zeropass device keystore keyring",
		Args:    takesNothing,
	}
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		return a.changeKeystore(cmd.Context(), func(_ *home.Home, secret []byte) (*keystore.Record, error) {
			ctx, cancel := context.WithTimeout(cmd.Context(), keyringPatience)
			defer cancel()
			return keystore.SealKeyring(ctx, rand.Reader, secret)
		})
	})
	return c
}

func keystorePassphraseCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "passphrase",
		Short:   "Let the passphrase alone open this device",
		Example: "zeropass device keystore passphrase",
		Args:    takesNothing,
	}
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		return a.changeKeystore(cmd.Context(), func(*home.Home, []byte) (*keystore.Record, error) { return nil, nil })
	})
	return c
}

// changeKeystore replaces what opens this device by what seal makes, nil for the
// passphrase alone. It takes the passphrase, so that nobody at an unlocked
// session makes it easier to open, and its owner still knows what stays.
func (a *app) changeKeystore(ctx context.Context, seal func(*home.Home, []byte) (*keystore.Record, error)) error {
	if err := a.checkFiles(); err != nil {
		return err
	}
	dir, err := a.existingHome()
	if err != nil {
		return err
	}
	h, err := a.openHome(ctx, dir)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := a.unlockWithPassphrase(ctx, h); err != nil {
		return err
	}
	secret, err := h.DeviceSecret()
	if err != nil {
		return err
	}
	defer clear(secret)
	fresh, err := seal(h, secret)
	if err != nil {
		return keystoreFailure(err)
	}
	v := keystoreView{Keystore: "passphrase", Works: new(true)}
	if fresh != nil {
		defer fresh.Erase()
		v.Keystore, v.PIN = string(fresh.Kind()), fresh.NeedsPIN()
	}
	if err := a.replaceKeystore(ctx, h, fresh); err != nil {
		return keystoreFailure(err)
	}
	return a.show(v, func() { a.showChanged(v) })
}

// replaceKeystore stores a record that works, and forgets the one before.
func (a *app) replaceKeystore(ctx context.Context, h *home.Home, fresh *keystore.Record) error {
	old, err := storedKeystore(h)
	if err != nil && !errors.Is(err, home.ErrNotFound) {
		a.warn("%s; it is replaced", keystoreFailure(err).text)
	}
	if fresh == nil {
		err = h.RemoveKeystore()
	} else if err = a.putKeystore(ctx, h, fresh); err != nil {
		err = errors.Join(err, fresh.Forget(ctx))
	}
	if err != nil || old == nil {
		return err
	}
	defer old.Erase()
	// The old entry opens nothing without the record that was replaced.
	if err := old.Forget(ctx); err != nil {
		a.warn("the entry %q stays in the keyring, and is of no use: %s", "zeropass", keystoreFailure(err).text)
	}
	return nil
}

func (a *app) putKeystore(ctx context.Context, h *home.Home, fresh *keystore.Record) error {
	secret, err := openKeystore(ctx, fresh, a.pin)
	if err != nil {
		return err
	}
	defer clear(secret)
	if err := h.UnlockWithSecret(secret); err != nil {
		return err
	}
	b, err := fresh.Bytes()
	if err != nil {
		return err
	}
	defer clear(b)
	return h.PutKeystore(b)
}

// keystoreView is what opens this device.
type keystoreView struct {
	Keystore string `json:"keystore"` // tpm, keyring or passphrase
	PIN      bool   `json:"pin"`
	Works    *bool  `json:"works,omitempty"` // absent if it was not tried
	Problem  string `json:"problem,omitempty"`

	hint string
}

// tryKeystore says what opens a home and whether it does.
func (a *app) tryKeystore(ctx context.Context, h *home.Home) (keystoreView, error) {
	r, err := storedKeystore(h)
	if errors.Is(err, home.ErrNotFound) {
		return keystoreView{Keystore: "passphrase", Works: new(true)}, nil
	}
	v := keystoreView{Keystore: "unknown"}
	if err == nil {
		defer r.Erase()
		v.Keystore, v.PIN = string(r.Kind()), r.NeedsPIN()
		err = a.unlockFromKeystore(ctx, h)
	}
	switch {
	case ctx.Err() != nil:
		return v, ctx.Err()
	case errors.Is(err, errNoPIN):
		return v, nil
	case err != nil:
		f := keystoreFailure(err)
		v.Works, v.Problem, v.hint = new(false), f.text, f.hint
	default:
		v.Works = new(true)
	}
	return v, nil
}

func (v keystoreView) name() string {
	switch {
	case v.PIN:
		return "the TPM and a PIN"
	case v.Keystore == "tpm":
		return "the TPM"
	case v.Keystore == "keyring":
		return "the desktop's keyring"
	}
	return "its passphrase"
}

func (a *app) showKeystore(v keystoreView) {
	switch v.Keystore {
	case "passphrase":
		a.say("This device opens with its passphrase.")
		a.next("zeropass device keystore tpm --pin, or keyring, if typing it is too much every day")
		return
	case "unknown":
		a.say("This device opens with its passphrase only.")
	default:
		a.say("This device opens with %s, or with its passphrase.", v.name())
	}
	switch {
	case v.Works == nil:
		a.say("Whether that works was not tried: no PIN was given.")
	case *v.Works:
		a.say("It works.")
	default:
		a.say("It does not work: %s.", oneParagraph(v.Problem))
		if v.hint != "" {
			a.next(v.hint)
		}
	}
}

func (a *app) showChanged(v keystoreView) {
	if v.Keystore == "passphrase" {
		a.say("From now on this device opens with its passphrase alone.")
		return
	}
	a.say("From now on this device opens with %s.", v.name())
	a.say("Keep the passphrase: it opens this device if that fails, and copies of it.")
	if !v.PIN {
		a.say("Whoever can run programs as you opens this device, and sees titles and user")
		a.say("names. Showing a secret takes the second factor as before.")
	}
}
