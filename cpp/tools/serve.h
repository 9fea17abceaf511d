// The serve protocol (docs/serve-protocol.md): commands on standard input, replies on standard
// output.
#ifndef SANDERLING_TOOLS_SERVE_H_
#define SANDERLING_TOOLS_SERVE_H_

namespace tools {

void serve(int threads);  // until `quit` or the end of the input

}  // namespace tools

#endif  // SANDERLING_TOOLS_SERVE_H_
