package bip32

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	secp256k1 "gitlab.com/yawning/secp256k1-voi"
)

// The cases without a child have a chance below 2^-127 each, so that no index
// is known for them. They are tested where IL is an argument.
func TestTweakWithoutChild(t *testing.T) {
	parent := secp256k1.NewScalarFromUint64(41)
	parentPoint := secp256k1.NewIdentityPoint().ScalarBaseMult(parent)

	var order, overOrder, allOnes [scalarSize]byte
	minusParent := [scalarSize]byte(secp256k1.NewScalar().Negate(parent).Bytes())
	minusOne := [scalarSize]byte(secp256k1.NewScalar().Negate(secp256k1.NewScalarFromUint64(1)).Bytes())
	n := new(big.Int).Add(new(big.Int).SetBytes(minusOne[:]), big.NewInt(1))
	n.FillBytes(order[:])
	new(big.Int).Add(n, big.NewInt(1)).FillBytes(overOrder[:])
	for i := range allOnes {
		allOnes[i] = 0xff
	}

	for _, tt := range []struct {
		name  string
		il    [scalarSize]byte
		child uint64 // 0: none
	}{
		{"IL = 0", [scalarSize]byte{}, 41},
		{"IL = 1", [scalarSize]byte{31: 1}, 42},
		{"IL = n-1", minusOne, 40},
		{"IL = n-k", minusParent, 0},
		{"IL = n", order, 0},
		{"IL = n+1", overOrder, 0},
		{"IL = 2^256-1", allOnes, 0},
	} {
		scalar, errPrivate := childScalar(parent, &tt.il)
		point, errPublic := childPoint(parentPoint, &tt.il)
		if tt.child == 0 {
			if !errors.Is(errPrivate, ErrInvalidKey) || !errors.Is(errPublic, ErrInvalidKey) || scalar != nil || point != nil {
				t.Errorf("%s: %v, %v", tt.name, errPrivate, errPublic)
			}
			continue
		}
		if errPrivate != nil || errPublic != nil {
			t.Errorf("%s: %v, %v", tt.name, errPrivate, errPublic)
			continue
		}
		want := secp256k1.NewScalarFromUint64(tt.child)
		if scalar.Equal(want) != 1 || point.Equal(secp256k1.NewIdentityPoint().ScalarBaseMult(want)) != 1 {
			t.Errorf("%s: wrong child", tt.name)
		}
	}
}

// What leaves step has taken the private key out of HMAC's input.
func TestStepErasesItsInput(t *testing.T) {
	k, err := NewMaster(bytes.Repeat([]byte{7}, masterSize))
	if err != nil {
		t.Fatal(err)
	}
	input := k.childInput(Hardened)
	if !bytes.Equal(input[1:33], k.Bytes()) {
		t.Fatal("the input does not hold the private key")
	}
	if _, _, err := k.public.step(Hardened, input); err != nil {
		t.Fatal(err)
	}
	if *input != [pointSize + 4]byte{} {
		t.Error("the private key stays in the input")
	}
}

func TestAlphabet(t *testing.T) {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	if len(alphabet) != 58 {
		t.Fatal("alphabet")
	}
	for d := range len(alphabet) {
		if got := digitToChar(byte(d)); got != alphabet[d] {
			t.Errorf("digit %d is %q, want %q", d, got, alphabet[d])
		}
	}
	for c := range 256 {
		want := bytes.IndexByte([]byte(alphabet), byte(c))
		d, bad := charToDigit(byte(c))
		if (bad != 0) != (want < 0) || want >= 0 && int(d) != want {
			t.Errorf("%q is digit %d, bad %x; want %d", byte(c), d, bad, want)
		}
	}
}

// FuzzPrivateBody fuzzes what FuzzParsePrivate does not reach, because it does
// not find checksums: the 78 bytes inside.
func FuzzPrivateBody(f *testing.F) {
	k, err := NewMaster(bytes.Repeat([]byte{7}, masterSize))
	if err != nil {
		f.Fatal(err)
	}
	b, err := decodeBase58Check(k.Encode())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[4:])
	child, err := k.Derive(Hardened+1, 2)
	if err != nil {
		f.Fatal(err)
	}
	if b, err = decodeBase58Check(child.Encode()); err != nil {
		f.Fatal(err)
	}
	f.Add(b[4:])
	f.Fuzz(func(t *testing.T, rest []byte) {
		if len(rest) != serializedSize-4 {
			return
		}
		b := [serializedSize]byte{0x04, 0x88, 0xad, 0xe4}
		copy(b[4:], rest)
		s := encodeBase58Check(&b)
		decoded, err := decodeBase58Check(s)
		if err != nil || *decoded != b {
			t.Fatalf("%x comes back from Base58 as %x: %v", b, decoded, err)
		}
		k, err := ParsePrivate(s)
		if (k == nil) != (err != nil) {
			t.Fatalf("result %v, error %v", k, err)
		}
		if err == nil && k.Encode() != s {
			t.Errorf("%x encodes to %s", b, k.Encode())
		}
	})
}
