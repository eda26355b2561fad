package home

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// Write is a version of a slot that is on its way into the ledger: a secret
// that the server has not accepted. It prints as [secret].
type Write struct {
	Slot     ledger.SlotID
	Base     uint64 // version that it follows, 0 for a new slot
	Metadata *recordv1.SlotMetadata
	Secret   *recordv1.Secret
}

// Format writes "[secret]" for every verb.
func (Write) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (Write) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]", which makes JSON of it too.
func (Write) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// packedWrite is a Write in a pending file, which is a JSON array of them:
// bytes in base64, the two messages in their canonical encoding.
type packedWrite struct {
	Slot     []byte
	Base     uint64
	Metadata []byte
	Secret   []byte
}

// MarshalWrites returns what PutPending stores for these writes. The caller
// erases it.
func MarshalWrites(writes []Write) ([]byte, error) {
	var packed []packedWrite
	defer func() { erasePacked(packed) }()
	for _, w := range writes {
		metadata, err := canonical.Marshal(w.Metadata)
		if err != nil {
			return nil, fmt.Errorf("home: pending secret: %w", err)
		}
		secret, err := canonical.Marshal(w.Secret)
		if err != nil {
			return nil, fmt.Errorf("home: pending secret: %w", err)
		}
		packed = append(packed, packedWrite{w.Slot[:], w.Base, metadata, secret})
	}
	return json.Marshal(packed)
}

// ParseWrites reads what MarshalWrites returned.
func ParseWrites(b []byte) ([]Write, error) {
	var packed []packedWrite
	defer func() { erasePacked(packed) }()
	if err := json.Unmarshal(b, &packed); err != nil {
		// The error of package json may quote the text.
		return nil, fmt.Errorf("%w: not the writes of a pending secret", ErrDamaged)
	}
	writes := make([]Write, 0, len(packed))
	for _, p := range packed {
		w := Write{Base: p.Base, Metadata: new(recordv1.SlotMetadata), Secret: new(recordv1.Secret)}
		if len(p.Slot) != len(w.Slot) {
			return nil, fmt.Errorf("%w: a slot id of %d bytes", ErrDamaged, len(p.Slot))
		}
		copy(w.Slot[:], p.Slot)
		if err := canonical.Unmarshal(p.Metadata, w.Metadata); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err := canonical.Unmarshal(p.Secret, w.Secret); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		writes = append(writes, w)
	}
	return writes, nil
}

func erasePacked(packed []packedWrite) {
	for _, p := range packed {
		clear(p.Metadata)
		clear(p.Secret)
	}
}
