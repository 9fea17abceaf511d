// CRC-32 as ZIP uses it (ISO 3309, reflected polynomial 0xEDB88320).
#ifndef SANDERLING_CORE_CRC32_H_
#define SANDERLING_CORE_CRC32_H_

#include "core/bytes.h"

namespace sanderling {

uint32_t crc32(Bytes bytes);

}  // namespace sanderling

#endif  // SANDERLING_CORE_CRC32_H_
