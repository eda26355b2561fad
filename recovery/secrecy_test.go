package recovery

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// Whatever holds secrets prints as [secret], also from within another value, under
// every verb and by every encoder.
func TestSecretsDoNotPrint(t *testing.T) {
	w := newAccount(t, 90, "one")
	s := w.epochs[1]
	backup := w.backup(1, s.server, s.members[0], s.members[1])
	device := w.device(1)
	w.wantOpened(Open(t.Context(), w.state, 1, device, backup))
	opened, err := Open(t.Context(), w.state, 1, device, w.released)
	ok(t, err)

	share := must[[]byte](t)(w.released.Share(w.state.LiveSlots()[0].Put(1)))
	root := backup.Keys().Root().Bytes()
	metadata := must[*aead.Key](t)(device.MetadataKey(1)).Bytes()
	seal := w.devices[1].seal.Bytes()
	secrets := map[string][]byte{"share": share, "root key": root, "metadata key": metadata, "seal key": seal, "password": []byte("password of one")}

	for name, value := range map[string]any{
		"Backup": *backup, "*Backup": backup, "Device": *device, "*Device": device, "Released": *w.released, "*Released": w.released,
		"Opened": opened[0], "slice": opened,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			wantSecret(t, name+" "+verb, fmt.Sprintf(verb, value), secrets)
			if name != "Opened" && name != "slice" {
				hidden := struct{ v any }{value}
				wantNothing(t, name+" hidden, "+verb, fmt.Sprintf(verb, hidden), secrets)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("test", "value", value)
		wantSecret(t, name+" in a log", log.String(), secrets)
		if stringer, ok := value.(interface {
			String() string
			GoString() string
		}); ok {
			wantSecret(t, name+" as text", stringer.String()+stringer.GoString(), secrets)
		}
		j, err := json.Marshal(value)
		ok(t, err)
		wantSecret(t, name+" as JSON", string(j), secrets)
	}
}

func wantSecret(t *testing.T, what, text string, secrets map[string][]byte) {
	t.Helper()
	if !strings.Contains(text, redacted) {
		t.Errorf("%s does not say %s", what, redacted)
	}
	wantNothing(t, what, text, secrets)
}

// wantNothing looks for 8 bytes of a secret, raw, in hexadecimal, and as numbers.
func wantNothing(t *testing.T, what, text string, secrets map[string][]byte) {
	t.Helper()
	for name, secret := range secrets {
		part := secret[:8]
		numbers := strings.Trim(fmt.Sprint(part), "[]")
		for _, form := range []string{string(part), hex.EncodeToString(part), numbers} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows the %s", what, name)
			}
		}
	}
}

// What an error says can stand in a log.
func TestErrorsNameNoSecrets(t *testing.T) {
	w := newAccount(t, 91, "one")
	w.released.Add(1, w.slots["one"], 1, bytes.Repeat([]byte{0x5a}, 98))
	opened, err := Open(t.Context(), w.state, 1, w.device(1), w.released)
	ok(t, err)
	wrong := spoiled(t, w, w.epochs[1].members[0])
	_, identifyErr := Identify(wrong, w.state)
	_, report, rebuildErr := Rebuild([]*slip39.Share{wrong, w.epochs[1].server}, w.state, 1)
	secrets := map[string][]byte{
		"server share": bytes.Repeat([]byte{0x5a}, 98), "value": wrong.Value(), "server's value": w.epochs[1].server.Value(),
		"words": []byte(strings.Join(strings.Fields(wrong.Mnemonic())[6:9], " ")),
	}
	for _, text := range []string{opened[0].Err.Error(), identifyErr.Error(), rebuildErr.Error(), report.String(), (&MissingHeadError{Shown: ledger.Head{}}).Error()} {
		wantNothing(t, text, text, secrets)
	}
}

func TestErasedSourcesGiveNothing(t *testing.T) {
	w := newAccount(t, 92, "one", "two")
	put := w.state.LiveSlots()[0].Put(1)
	kept := w.released.shares()[slotVersion{1, ledger.SlotID(put.Slot), 1}]
	if w.released.Len() != 2 {
		t.Fatalf("%d shares", w.released.Len())
	}
	w.released.Erase()
	if share, err := w.released.Share(put); share != nil || !errors.Is(err, ErrNoShare) || w.released.Len() != 0 || !bytes.Equal(kept, make([]byte, len(kept))) {
		t.Errorf("released: %v", err)
	}

	backup := w.backup(1, w.epochs[1].server, w.epochs[1].device)
	ok(t, backup.CheckSlotKey(put))
	key := must[*aead.Key](t)(backup.MetadataKey(1))
	if again := must[*aead.Key](t)(backup.MetadataKey(1)); again != key {
		t.Error("opened twice")
	}
	put.SlotKey = w.signKey().PublicKey().Bytes()
	if err := backup.CheckSlotKey(put); !errors.Is(err, seed.ErrSlotKey) {
		t.Errorf("another slot key: %v", err)
	}
	backup.Erase()
	if share, err := backup.Share(put); share != nil || err == nil {
		t.Error("a share from erased keys")
	}
	if key, err := backup.MetadataKey(1); key != nil || err == nil {
		t.Error("a metadata key from erased keys")
	}
	defer func() {
		if recover() == nil {
			t.Error("the metadata key outlives its Backup")
		}
	}()
	key.Bytes()
}
