package main

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/entropy"
)

// soonWait is the waiting period below which a warning is due: a warning that
// nobody sees for a night comes too late.
const soonWait = 24 * time.Hour

func initCommand(a *app) *cobra.Command {
	contacts := quorum{2, 3}
	waiting := period(72 * time.Hour)
	deviceName, _ := os.Hostname()
	var server, name, tokenFile string
	var cost int
	var noMouse, printed bool
	c := &cobra.Command{
		Use:   "init",
		Short: "Make an account on this device",
		Long: `Make an account, with this device as its first.

Two passphrases are chosen: one opens ZeroPass on this device, the other is the
second factor that shows a secret. Then the Private Master Seed is made from this
computer's randomness, your mouse movements and the server's randomness, split,
and erased. It is never stored anywhere.

With --printed there is a sheet besides, which is worth a quorum of contacts once a
quorum has proved its shares: "zeropass sheet print" prints it.

If it stops in the middle, run it again: it goes on where it stopped.`,
		Example: `zeropass init --server https://zeropass.example --name Ada
# Any 3 of 5 people bring everything back, after a week in which you can object
zeropass init --server https://zeropass.example --name Ada --contacts 3-of-5 --waiting-period 7d`,
		Args: takesNothing,
	}
	flags := c.Flags()
	flags.StringVar(&server, "server", "", "the server's address")
	flags.StringVar(&name, "name", "", "the account's name; contacts and the server see it, and a recovery asks for it")
	flags.StringVar(&deviceName, "device-name", deviceName, "what this device is called; the server does not see it")
	flags.Var(&contacts, "contacts", "how many of how many contacts bring everything back")
	flags.Var(&waiting, "waiting-period", "how long a recovery waits, so that you can object; 72h, 3d")
	flags.BoolVar(&printed, "printed", false, "with a printed sheet that is worth a quorum")
	flags.IntVar(&cost, "unlock-cost", 0, "how costly unlocking is, as scrypt's log2 N; each step doubles time and memory (default 18)")
	flags.StringVar(&tokenFile, "registration-token-file", "", "file with a token from whoever runs the server, where it takes new accounts by token; - reads standard input")
	flags.BoolVar(&noMouse, "no-mouse", false, "do not ask for mouse movements")
	must(c.MarkFlagRequired("server"), c.MarkFlagRequired("name"))
	c.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		dir, err := a.homeDir()
		if err != nil {
			return err
		}
		if time.Duration(waiting) < soonWait {
			a.warn("with a waiting period of %s there is little time to object to a stranger's recovery; the usual one is 3 days.", duration(time.Duration(waiting)))
		}
		token, err := a.registrationToken(ctx, tokenFile)
		if err != nil {
			return err
		}
		a.guessable(name, server, deviceName)
		if err := a.passphrasesForInit(ctx, dir); err != nil {
			return err
		}
		var pool entropy.Pool
		defer pool.Erase()
		if !noMouse {
			if err := a.fillPool(ctx, &pool); err != nil {
				return err
			}
		}
		d, r, err := device.Init(ctx, a.options(ctx), device.InitOptions{
			Dir: dir, ServerURL: server, Name: name, DeviceName: deviceName,
			Passphrase: a.passphrase, ConfirmPassphrase: a.confirmPassphrase,
			Quorum: contacts.k, Members: contacts.n, WaitingPeriod: time.Duration(waiting), Printed: printed,
			UnlockCost: cost, MousePool: &pool, Token: token,
		})
		if err != nil {
			return err
		}
		v := initView{
			Home: dir, Account: r.Account.String(), Name: r.Name, Server: server,
			Quorum: r.Quorum, Contacts: r.Members, WaitingPeriod: int64(r.WaitingPeriod / time.Second),
			Movements: r.MouseEvents, ServerSources: r.Sources, Sheet: printed,
		}
		err = a.show(v, func() { a.showInit(v, r.WaitingPeriod) })
		return errors.Join(err, d.Close())
	})
	return c
}

// registrationToken reads a token, nil where no file is named.
func (a *app) registrationToken(ctx context.Context, file string) ([]byte, error) {
	var text []byte
	var err error
	switch file {
	case "":
		return nil, nil
	case "-":
		text, err = a.readInput(ctx)
	default:
		text, err = readFile(file)
	}
	if err != nil {
		return nil, err
	}
	token, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(token) != api.TokenSize {
		return nil, usage("Give the token as you got it.", "--registration-token-file: a token has %d hexadecimal digits", 2*api.TokenSize)
	}
	return token, nil
}

// passphrasesForInit asks for two new passphrases, or, where an init stopped in
// the middle, for the one that was chosen then.
func (a *app) passphrasesForInit(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "config")); err != nil {
		return a.newPassphrases(ctx)
	}
	if err := a.checkFiles(); err != nil {
		return err
	}
	_, err := a.knownPassphrase(ctx)
	return err
}

// fillPool asks for mouse movements where there is a terminal to move one over.
func (a *app) fillPool(ctx context.Context, pool *entropy.Pool) error {
	err := a.moveMouse(ctx, pool)
	if errors.Is(err, errNoTerminal) {
		return nil
	}
	return err
}

type initView struct {
	Home          string   `json:"home"`
	Account       string   `json:"account"`
	Name          string   `json:"name"`
	Server        string   `json:"server"`
	Quorum        int      `json:"quorum"`
	Contacts      int      `json:"contacts"`
	WaitingPeriod int64    `json:"waiting_period_seconds"`
	Movements     int      `json:"mouse_movements"`
	ServerSources []string `json:"server_randomness"`
	Sheet         bool     `json:"sheet_to_print"`
	Recoverable   bool     `json:"recoverable"`
}

func (a *app) showInit(v initView, waiting time.Duration) {
	a.say("The account %s is ready on this device.", oneLine(v.Name))
	a.say("")
	a.say("  account         %s", v.Account)
	a.say("  directory       %s", v.Home)
	a.say("  server          %s", v.Server)
	a.say("  to recover      %d of %s and %s", v.Quorum, count(v.Contacts, "contact"), "a wait of "+duration(waiting))
	here, there := randomness(v)
	a.say("  randomness      here: %s", here)
	if there != "" {
		a.say("                  server: %s", there)
	}
	a.say("")
	a.say("The Private Master Seed was split and erased. Nobody has it, not even this device.")
	a.say("It is NOT RECOVERABLE yet: that takes %d of your contacts.", v.Quorum)
	todo := []string{
		"zeropass add --title TITLE        keep a first secret",
		"zeropass contact invite NAME      give a share to somebody you trust",
		"zeropass status                   see whether everything can be recovered",
	}
	if v.Sheet {
		todo = append(todo, "zeropass sheet print              print the sheet, then zeropass sheet confirm")
	}
	a.next(todo...)
}

// randomness says where the seed's two halves came from.
func randomness(v initView) (here, there string) {
	here = "this system's generator alone"
	if v.Movements > 0 {
		here = "this system's generator and " + count(v.Movements, "mouse movement")
	}
	switch {
	case len(v.ServerSources) > 1:
		there = "its system's generator and its physical sources (" + strings.Join(v.ServerSources[1:], ", ") + ")"
	case len(v.ServerSources) > 0:
		there = "its system's generator ALONE: its operator allowed that no physical source was sound"
	}
	return here, there
}
