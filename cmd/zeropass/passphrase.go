package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/home"
)

func passphraseCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "passphrase",
		Short: "Change this device's passphrases, or suggest one",
	}, passphraseChangeCommand(a), passphraseSuggestCommand(a))
}

func passphraseChangeCommand(a *app) *cobra.Command {
	var confirm bool
	var file string
	var cost int
	c := &cobra.Command{
		Use:   "change",
		Short: "Choose another passphrase",
		Long: `Choose another passphrase for this device, or with --confirm another confirm
passphrase. It needs neither the server nor your other devices.

A copy of this device's directory that was made earlier still opens with the old
passphrase.`,
		Example: "zeropass passphrase change\nzeropass passphrase change --confirm",
		Args:    takesNothing,
	}
	c.Flags().BoolVar(&confirm, "confirm", false, "change the confirm passphrase")
	c.Flags().StringVar(&file, "new-passphrase-file", "", "read the new passphrase from this file instead of asking")
	c.Flags().IntVar(&cost, "unlock-cost", 0, "how costly unlocking is, as scrypt's log2 N (default 18)")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
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
		err = a.changePassphrase(ctx, h, confirm, file, cost)
		if closed := h.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
		return a.show(map[string]bool{"changed": true}, func() {
			if confirm {
				a.say("The confirm passphrase is changed.")
			} else {
				a.say("The passphrase is changed.")
			}
			a.say("Copies of %s that were made earlier still open with the old one.", dir)
		})
	})
	return c
}

func (a *app) changePassphrase(ctx context.Context, h *home.Home, confirm bool, file string, cost int) error {
	if err := a.unlockWithPassphrase(ctx, h); err != nil {
		return err
	}
	what := "New passphrase"
	var old []byte
	if confirm {
		what = "New confirm passphrase"
		var err error
		if old, err = a.knownConfirmPassphrase(ctx); err != nil {
			return err
		}
		key, err := h.ConfirmKey(old) // before a new one is asked for
		if errors.Is(err, home.ErrPassphrase) {
			return fail(exitPassphrase, "It is the second of the two that were chosen for this device.", "this is not the confirm passphrase of %s", h.Dir())
		} else if err != nil {
			return err
		}
		key.Erase()
	}
	fresh, err := a.choosePassphrase(ctx, file, "--new-passphrase-file", what)
	if err != nil {
		return err
	}
	defer clear(fresh)
	defer a.working("sealing with the new passphrase")()
	if confirm {
		err = h.ChangeConfirmPassphrase(old, fresh, cost)
	} else {
		err = h.ChangePassphrase(fresh, cost)
	}
	if errors.Is(err, home.ErrSamePassphrase) {
		return usage(hintTwoPassphrases, "the passphrase and the confirm passphrase would be the same")
	}
	return err
}

// unlockWithPassphrase unlocks a home where nothing but its passphrase will do.
func (a *app) unlockWithPassphrase(ctx context.Context, h *home.Home) error {
	passphrase, err := a.knownPassphrase(ctx)
	if err != nil {
		return err
	}
	defer a.working("unlocking")()
	err = h.Unlock(passphrase)
	if errors.Is(err, home.ErrPassphrase) {
		return fail(exitPassphrase, "It is the one that was chosen for this device, not the confirm passphrase.", "this is not the passphrase of %s", h.Dir())
	}
	return err
}
