package main

import (
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"zeropass.dev/zeropass/internal/keystore/keystoretest"
)

// keystoresKey is where a script's TPM and keyring are.
type keystoresKey struct{}

type keystores struct {
	tpm     *keystoretest.TPM
	keyring *keystoretest.KeyringDaemon
}

// tpm start runs a TPM that ZEROPASS_TPM names; tpm clear makes it forget
// everything.
func cmdTPM(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tpm start|clear")
	}
	running := ts.Value(keystoresKey{}).(*keystores)
	switch args[0] {
	case "start":
		tpm, err := keystoretest.StartTPM()
		ts.Check(err)
		ts.Defer(func() { _ = tpm.Stop() })
		ts.Setenv("ZEROPASS_TPM", tpm.Path)
		running.tpm = tpm
	case "clear":
		ts.Check(running.tpm.Clear())
	default:
		ts.Fatalf("tpm: %q is neither start nor clear", args[0])
	}
}

// keyring start runs a desktop session with a keyring; keyring empty removes
// what is in it; keyring has N fails unless it has N entries.
func cmdKeyring(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: keyring start|empty|has N")
	}
	running := ts.Value(keystoresKey{}).(*keystores)
	if args[0] == "start" {
		k, err := keystoretest.StartKeyring()
		ts.Check(err)
		ts.Defer(func() { _ = k.Stop() })
		ts.Setenv("DBUS_SESSION_BUS_ADDRESS", k.Address)
		running.keyring = k
		return
	}
	k := running.keyring
	switch {
	case args[0] == "empty":
		ts.Check(k.Clear())
	case args[0] == "has" && len(args) == 2:
		entries, err := k.Entries()
		ts.Check(err)
		if got := strconv.Itoa(len(entries)); got != args[1] {
			ts.Fatalf("the keyring has %s entries, not %s", got, args[1])
		}
	default:
		ts.Fatalf("keyring: %q is not known", args[0])
	}
}
