package entropy

import "errors"

// errProcessor: the instruction kept saying that it has nothing.
var errProcessor = errors.New("the processor's generator gives nothing")

// processorTries is how often an instruction is tried again that had nothing
// ready. Several cores may ask at once.
const processorTries = 10_000

// processor is the processor's own instruction, of which each step gives eight
// samples.
type processor struct{}

func openProcessor() (Noise, error) {
	if !hasProcessor {
		return nil, ErrUnsupported
	}
	return processor{}, nil
}

func (processor) Read(samples []byte) error {
	for len(samples) > 0 {
		value, ok := uint64(0), false
		for try := 0; !ok && try < processorTries; try++ {
			value, ok = readProcessor()
		}
		if !ok {
			return errProcessor
		}
		for i := 0; i < 8 && len(samples) > 0; i++ {
			samples[0] = byte(value >> (8 * i))
			samples = samples[1:]
		}
	}
	return nil
}

func (processor) Close() error { return nil }
