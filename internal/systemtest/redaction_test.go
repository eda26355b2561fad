package systemtest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/bip32"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// fmt calls no methods of what stands in unexported fields, and for a verb that
// does not fit it follows a pointer. Whatever somebody prints with a key in it
// must not show the key.
func TestSecretsInUnexportedFieldsAreSilent(t *testing.T) {
	sealKey, err := hpke.GenerateKey(rand.Reader)
	must(t, err)
	signKey, err := signing.GenerateKey(rand.Reader)
	must(t, err)
	symmetric, err := aead.GenerateKey(rand.Reader)
	must(t, err)
	local, server := random(t, 32), random(t, 32)
	private, err := seed.New(local, server)
	must(t, err)
	keys, err := private.Keys()
	must(t, err)
	chain := random(t, 64)
	extended, err := bip32.NewMaster(chain)
	must(t, err)
	shares, err := slip39.Split(rand.Reader, random(t, 64), nil, slip39.Params{
		Extendable: true, GroupThreshold: 1, Groups: []slip39.Group{{Threshold: 1, Count: 1}},
	})
	must(t, err)

	holder := struct {
		sealKey   *hpke.PrivateKey
		signKey   *signing.PrivateKey
		symmetric *aead.Key
		private   *seed.Seed
		keys      *seed.Keys
		extended  *bip32.PrivateKey
		share     *slip39.Share
	}{sealKey, signKey, symmetric, private, keys, extended, shares[0][0]}
	secrets := map[string][]byte{
		"seal key": sealKey.Bytes(), "sign key": signKey.Bytes(), "symmetric key": symmetric.Bytes(),
		"local half": local, "server half": server, "root key": keys.Root().Bytes(),
		"extended key": extended.Bytes(), "share": shares[0][0].Value(),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%e"} {
		mustNotShow(t, verb, fmt.Sprintf(verb, holder)+fmt.Sprintf(verb, &holder), secrets)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("text", "holder", holder)
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "holder", holder)
	mustNotShow(t, "slog", log.String(), secrets)
}

// mustNotShow looks for the first bytes of each secret as text, as hexadecimal
// and as a list of numbers.
func mustNotShow(t *testing.T, how, out string, secrets map[string][]byte) {
	t.Helper()
	for name, secret := range secrets {
		start := secret[:6]
		numbers := strings.Trim(fmt.Sprint(start), "[]")
		for _, form := range []string{string(start), hex.EncodeToString(start), strings.ToUpper(hex.EncodeToString(start)), numbers} {
			if strings.Contains(out, form) {
				t.Errorf("%s shows the %s", how, name)
			}
		}
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	must(t, err)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
