package signing

import (
	"crypto/rand"
	"testing"
)

func TestSign(t *testing.T) {
	k, err := GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := NewContext("test").Uint(1)
	s := k.Sign(c)
	if !k.PublicKey().Verify(c, s) {
		t.Error("own signature does not verify")
	}
	if k.PublicKey().Verify(NewContext("test").Uint(2), s) {
		t.Error("signature verifies over another context")
	}
}
