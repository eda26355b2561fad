package credential

import (
	"fmt"
	"io"

	"zeropass.dev/zeropass/aead"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
)

// Waiting is one member's share while it has no contact: half with the owner's
// devices, half with the server. Its numbers are 1 to 2^31-1.
type Waiting struct {
	Account [32]byte
	Epoch   uint64
	Member  uint64 // SLIP-39's member index + 1
	Device  uint64 // number of the device that prepares the epoch

	Generation     uint64 // of the device-share key
	DeviceShareKey *aead.Key
	ServerSealKey  *hpke.PublicKey

	Share []byte // the binary SLIP-39 share
}

// NewWaiting splits a member's share like a credential and throws the share at
// x = 3 away, so that both halves are needed. It returns the record and the
// server's half, sealed to the server. The caller erases w.Share.
//
// It returns an error that wraps [ErrInput], or rand's.
func NewWaiting(rand io.Reader, w Waiting) (*recordv1.SplitSecret, *recordv1.SealedServerShare, error) {
	switch {
	case !countable(w.Epoch, w.Member, w.Device, w.Generation):
		return nil, nil, fmt.Errorf("%w: epoch %d, member %d, device %d, generation %d; each is 1 to 2^31-1",
			ErrInput, w.Epoch, w.Member, w.Device, w.Generation)
	case w.DeviceShareKey == nil || w.ServerSealKey == nil:
		return nil, nil, fmt.Errorf("%w: a key is missing", ErrInput)
	case len(w.Share) == 0:
		return nil, nil, fmt.Errorf("%w: the share is missing", ErrInput)
	}
	b := WaitingBinding(w.Account, w.Epoch, w.Member, w.Device)
	shares, err := Split(rand, w.Share, b)
	if err != nil {
		return nil, nil, fmt.Errorf("waiting share of member %d: %w", w.Member, err)
	}
	defer shares.Erase()
	split, sealed, err := sealHalves(rand, b, shares, w.Generation, w.DeviceShareKey, w.ServerSealKey)
	if err != nil {
		return nil, nil, fmt.Errorf("credential: waiting share of member %d: %w", w.Member, err)
	}
	return split, &recordv1.SealedServerShare{
		Kind:   recordv1.SealedServerShare_KIND_WAITING,
		Epoch:  w.Epoch,
		Member: w.Member,
		Sealed: sealed,
	}, nil
}

// OpenDeviceHalf returns the devices' half of a waiting share, y ‖ x, with the
// device-share key of s.Generation. b is a [WaitingBinding]. Its errors are those
// of [OpenDeviceShare].
func OpenDeviceHalf(key *aead.Key, b Binding, s *recordv1.SplitSecret) ([]byte, error) {
	half, err := open(key, b.device(s.GetGeneration(), b.Sender), s.GetSealedDeviceShare())
	return openedHalf(half, err, Device, b, s)
}

// OpenServerHalf returns the server's half of a waiting share, y ‖ x, with the
// server's seal key. b is a [WaitingBinding]. Its errors are those of
// [OpenServerShare].
func OpenServerHalf(key *hpke.PrivateKey, b Binding, s *recordv1.SplitSecret, sealed []byte) ([]byte, error) {
	half, err := openHPKE(key, b.server(), sealed)
	return openedHalf(half, err, Server, b, s)
}

// openedHalf checks a half that was just opened. Both halves give the member's
// share by [Combine].
func openedHalf(half []byte, err error, party Party, b Binding, s *recordv1.SplitSecret) ([]byte, error) {
	if err == nil {
		err = CheckShare(s, party, half)
	}
	if err != nil {
		clear(half)
		return nil, fmt.Errorf("%s half of the waiting share of %s, epoch %d: %w", party, b.Object, b.Epoch, err)
	}
	return half, nil
}
