package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

func recoverCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "recover",
		Short: "Get everything back on a new device",
		Long: `Get everything back on a new device, when all others are lost:

  1. zeropass recover start     asks, and shows eight words
  2. call your contacts and read the eight words to each; they approve
  3. zeropass recover status    shows how far it is
  4. zeropass recover finish    when enough have approved and the waiting period is over

If the server is gone for good, zeropass-recover does it without: from a copy of a
device's directory, its passphrase and your contacts' words.`,
	}, recoverStartCommand(a), recoverStatusCommand(a), recoverPaperCommand(a), recoverSheetCommand(a), recoverFinishCommand(a))
}

func recoverStartCommand(a *app) *cobra.Command {
	var server, name, account string
	var cost int
	c := &cobra.Command{
		Use:   "start",
		Short: "Ask for a recovery, on a new device",
		Long: `Make a new device and ask for the recovery of your account. The server starts the
waiting period and tells your contacts and your other devices.

Run again with the same directory, it shows the same request.`,
		Example: "zeropass recover start --server https://zeropass.example --name Ada",
		Args:    takesNothing,
	}
	flags := c.Flags()
	flags.StringVar(&server, "server", "", "the server's address")
	flags.StringVar(&name, "name", "", "the account's name")
	flags.StringVar(&account, "account", "", "the account's id, if you know it: the server must name the same")
	flags.IntVar(&cost, "unlock-cost", 0, "how costly unlocking is, as scrypt's log2 N (default 18)")
	must(c.MarkFlagRequired("server"), c.MarkFlagRequired("name"))
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		dir, err := a.homeDir()
		if err != nil {
			return err
		}
		options := device.RecoverOptions{Dir: dir, ServerURL: server, Name: name, UnlockCost: cost}
		if account != "" {
			id, err := ledger.ParseAccountID(account)
			if err != nil {
				return usage("It has 64 hexadecimal digits; your contacts' zeropass contact list --json shows it.", "%q is not the id of an account", account)
			}
			options.Account = &id
		}
		a.guessable(name, server)
		if err := a.passphrasesForInit(ctx, dir); err != nil {
			return err
		}
		options.Passphrase, options.ConfirmPassphrase = a.passphrase, a.confirmPassphrase
		d, r, err := device.RecoverStart(ctx, a.options(ctx), options)
		if err != nil {
			return err
		}
		err = a.show(recoveryJSON(r), func() {
			a.say("The recovery of %s is asked for.", oneLine(r.Name))
			a.showRecovery(r)
			a.nextInRecovery(r)
		})
		return errors.Join(err, d.Close())
	})
	return c
}

type recoveryView struct {
	Account   string     `json:"account"`
	Name      string     `json:"name"`
	Request   string     `json:"request"`
	Phrase    string     `json:"phrase"`
	Epoch     uint64     `json:"epoch"`
	Started   *time.Time `json:"started,omitempty"`
	Ends      *time.Time `json:"ends,omitempty"`
	Approvals int        `json:"approvals"`
	Quorum    int        `json:"quorum"`
	Approved  []uint64   `json:"approved"`
	Sheet     bool       `json:"sheet_approved"`
	Vetoes    int        `json:"vetoes"`
	Released  bool       `json:"released"`
	Over      bool       `json:"over"`
	Ready     bool       `json:"ready"`
	Recovered bool       `json:"recovered"`
	Missing   string     `json:"missing,omitempty"`
}

func recoveryJSON(r *device.RecoveryResult) recoveryView {
	return recoveryView{
		r.Account.String(), r.Name, r.Request.String(), r.Phrase, r.Epoch, jsonTime(r.Started), jsonTime(r.Ends),
		r.Approvals, r.Quorum, append([]uint64{}, r.Approved...), r.Sheet, r.Vetoes, r.Released, r.Over, r.Ready, r.Recovered, r.Missing,
	}
}

func (a *app) showRecovery(r *device.RecoveryResult) {
	now := time.Now()
	a.say("")
	a.say("  request           %s", r.Request.String()[:8])
	a.say("  account           %s", r.Account)
	a.say("  asked             %s", ago(now, r.Started))
	if r.Sheet {
		a.say("  approvals         %d of %d, and the printed sheet, which is enough", r.Approvals, r.Quorum)
	} else {
		a.say("  approvals         %d of %d", r.Approvals, r.Quorum)
	}
	if r.Ends.After(now) {
		a.say("  waiting period    until %s (%s)", when(r.Ends), duration(r.Ends.Sub(now)))
	} else {
		a.say("  waiting period    over")
	}
	if r.Vetoes > 0 {
		a.say("  vetoed            %s, by a device of the account: the contacts are to approve again", times(r.Vetoes))
	}
}

// nextInRecovery says what the owner can do now.
func (a *app) nextInRecovery(r *device.RecoveryResult) {
	switch {
	case r.Recovered:
		a.say("")
		a.say("This device has recovered the account; its next epoch is not prepared yet.")
		a.next("zeropass recover finish, which goes on")
	case r.Over:
		a.say("")
		a.say("Another device has recovered the account. This request is void.")
	case r.Ready:
		a.next("zeropass recover finish")
	case r.Approvals < r.Quorum && !r.Sheet:
		a.say("")
		a.say("Call your contacts and read these eight words to each of them:")
		a.say("")
		a.say("  %s", r.Phrase)
		a.next(
			"each of them runs: zeropass request approve",
			"a share on paper: zeropass recover paper; the printed sheet: zeropass recover sheet",
			"zeropass recover status shows how far it is",
		)
	default:
		a.next("zeropass recover finish, after " + when(r.Ends))
	}
}

func recoverStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say how far the recovery is",
		Long: `Say how far the recovery is. It ends with 0 when zeropass recover finish can go on,
and with 7 while something is missing.`,
		Args: takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.withRecovery(cmd.Context(), func(d *device.Device) (*device.RecoveryResult, error) {
				return d.RecoverStatus(cmd.Context())
			})
		}),
	}
}

// withRecovery runs one step of a recovery and shows where it stands; while
// something is missing the exit code says so.
func (a *app) withRecovery(ctx context.Context, step func(*device.Device) (*device.RecoveryResult, error)) error {
	ready := false
	err := a.with(ctx, func(d *device.Device) error {
		r, err := step(d)
		if err != nil {
			return err
		}
		ready = r.Ready && !r.Over || r.Recovered
		return a.show(recoveryJSON(r), func() {
			if r.Missing != "" {
				a.say("Not yet. Missing: %s.", oneLine(r.Missing))
			} else {
				a.say("Everything is there to recover %s.", oneLine(r.Name))
			}
			a.showRecovery(r)
			a.nextInRecovery(r)
		})
	})
	if err == nil && !ready {
		return answered(exitNotYet)
	}
	return err
}

func recoverPaperCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "paper",
		Short: "Type the words of a share on paper",
		Long:  "Approve with a share on paper: its words are typed here, on the new device.",
		Args:  takesNothing,
	}
	words := a.wordsFlag(c)
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return a.withRecovery(ctx, func(d *device.Device) (*device.RecoveryResult, error) {
			return withWords(ctx, words, d.AddPaperShare)
		})
	})
	return c
}

func recoverFinishCommand(a *app) *cobra.Command {
	var o output
	var insist bool
	c := &cobra.Command{
		Use:   "finish",
		Short: "Take everything back",
		Long: `Take everything back: rebuild the Private Master Seed from the server's and the
contacts' shares, open all secrets, make this device the account's, and prepare a
new epoch with new shares for the same contacts. Earlier devices are revoked.

With --output the secrets are also written into a file, in the clear, before
anything is changed. The old epoch protects until the new one commits; zeropass
status says which. If it stops anywhere, run it again in the same way: a file that
holds just what is to be written stands as it is.`,
		Example: "zeropass recover finish\nzeropass recover finish --output everything.json",
		Args:    takesNothing,
	}
	o.register(c, "also write all secrets into this new file, in the clear")
	c.Flags().BoolVar(&insist, "insist", false, "go on although the server does not show everything that your contacts prove; what it lacks is lost")
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if err := o.checkPlace(); err != nil {
			return err
		}
		return a.with(ctx, func(d *device.Device) error {
			written := false
			r, err := d.RecoverFinish(ctx, device.FinishOptions{
				Insist: insist,
				HandOver: func(items []device.Item, lost []device.LostItem) error {
					if o.path == "" {
						return nil
					}
					if err := o.writeOnce(items, written); err != nil {
						return err
					}
					written = true
					if abs, err := filepath.Abs(o.path); err == nil {
						a.note("Your secrets are in %s now, whatever happens next.", abs)
					}
					return nil
				},
			})
			if err != nil {
				return notYet(ctx, d, err)
			}
			return a.showFinished(r, o.path, written)
		})
	})
	return c
}

// notYet says what is missing when a recovery was to be finished too early, with
// the words that the contacts have to hear.
func notYet(ctx context.Context, d *device.Device, err error) error {
	if !errors.Is(err, api.ErrNotEnoughApprovals) && !errors.Is(err, api.ErrPeriodNotOver) {
		return err
	}
	r, failed := d.RecoverStatus(ctx)
	if failed != nil || r.Missing == "" {
		return err
	}
	hint := "Run the command again after " + when(r.Ends) + "."
	if r.Approvals < r.Quorum && !r.Sheet {
		hint = "Call your contacts and read them: " + r.Phrase + ". Each runs zeropass request approve; then run the command again."
	}
	return fail(exitNotYet, hint, "it is too early to finish the recovery of %s. Missing: %s", oneLine(r.Name), r.Missing)
}

func (a *app) showFinished(r *device.FinishResult, path string, written bool) error {
	v := struct {
		Account   string     `json:"account"`
		Name      string     `json:"name"`
		Device    uint64     `json:"device"`
		Items     int        `json:"items"`
		File      string     `json:"file,omitempty"`
		Lost      []lostView `json:"lost"`
		Discarded []string   `json:"approvals_discarded"`
		Gap       []string   `json:"ledger_lacks"`
		OldEpoch  uint64     `json:"protecting_epoch"`
		Epoch     uint64     `json:"prepared_epoch"`
		Bound     []string   `json:"contacts"`
		Sheet     bool       `json:"sheet_to_print"`
	}{
		Account: r.Account.String(), Name: r.Name, Device: r.Device, Items: r.Items, Lost: lostJSON(r.Lost),
		Discarded: append([]string{}, r.Discarded...), Gap: append([]string{}, r.Gap...),
		OldEpoch: r.OldEpoch, Epoch: r.Epoch, Bound: append([]string{}, r.Bound...), Sheet: r.Sheet,
	}
	if written {
		v.File = path
	}
	return a.show(v, func() {
		a.say("%s is back on this device: %s.", oneLine(r.Name), count(r.Items, "secret"))
		a.section("Could not be opened", lostLines(v.Lost))
		a.section("Approvals that did not count", r.Discarded)
		a.section("Missing from the server's ledger, and gone on without", r.Gap)
		a.say("")
		a.say("Earlier devices are revoked. Epoch %d still protects everything, with the shares that", r.OldEpoch)
		a.say("your contacts have; epoch %d takes its place when they have proved the new ones.", r.Epoch)
		todo := []string{"ask your contacts to run: zeropass sync", "then zeropass sync and zeropass status here"}
		if r.Sheet {
			todo = append(todo, "print the new sheet: zeropass sheet print --pdf sheet.pdf, then zeropass sheet confirm")
		}
		if written {
			todo = append(todo, "delete "+path+" when you do not need it: everybody who opens it can read it")
		} else {
			todo = append(todo, "zeropass list shows what came back")
		}
		if len(r.Lost) > 0 {
			todo = append(todo, "what could not be opened keeps the new epoch from taking over: "+deleteLost(r.Lost))
		}
		a.next(todo...)
	})
}
