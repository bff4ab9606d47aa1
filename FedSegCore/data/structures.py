"""Structures that are often segmented, with what 3D Slicer's terminologies say of them.

Codes are SNOMED CT's. They and the colours are those of Slicer's lists "3D Slicer General Anatomy" and, where that
lacks a structure, "DICOM master"; but for `Lesion`, which neither has. The lists have no code for the parts of the
hippocampus, which are told apart by their names, and two for the descending aorta, which is left out.
"""

from __future__ import annotations

from typing import Final

ROWS: Final = """
# Abdomen
Liver | 10200004 | anatomy | general | 221 130 101
Spleen | 78961009 | anatomy | general | 157 108 162
Pancreas | 15776009 | anatomy | general | 249 180 111
Gallbladder | 28231008 | anatomy | general | 139 150 98 |  | gall bladder
Stomach | 69695003 | anatomy | general | 216 132 105
Duodenum | 38848004 | anatomy | general | 255 253 229
Small Intestine | 30315005 | anatomy | general | 205 167 142 |  | small bowel
Jejunum | 21306003 | anatomy | dicom
Ileum | 34516001 | anatomy | dicom
Large intestine | 14742008 | anatomy | dicom |  |  | large bowel
Colon | 71854001 | anatomy | general | 204 168 143
Sigmoid colon | 60184004 | anatomy | dicom
Rectum | 34402009 | anatomy | dicom
Esophagus | 32849002 | anatomy | general | 211 171 143
Kidney | 64033007 | anatomy | general | 185 102 83 | sides
Adrenal gland | 23451007 | anatomy | general | 249 186 150 | sides | adrenal
Bladder | 89837001 | anatomy | general | 222 154 132 |  | urinary bladder
Bile Duct | 28273000 | anatomy | general | 0 145 30
Pancreatic duct | 69930009 | anatomy | dicom
# Pelvis
Prostate | 41216001 | anatomy | general | 230 158 140 |  | prostate gland
Seminal Vesicle | 64739004 | anatomy | general | 245 172 147 | sides
Urethra | 13648007 | anatomy | general | 124 186 223
Testis | 40689003 | anatomy | dicom |  | sides | testicle
Uterus | 35039007 | anatomy | general | 255 181 158
Ovary | 15497006 | anatomy | general | 213 141 113 | sides
Vagina | 76784001 | anatomy | general | 193 123 103
# Chest
Lung | 39607008 | anatomy | general | 197 165 145 | sides
Upper lobe of lung | 45653009 | anatomy | general | 172 138 115 | sides | lung upper lobe
Lower lobe of lung | 90572001 | anatomy | general | 224 186 162 | sides | lung lower lobe
Middle lobe of right lung | 72481006 | anatomy | general | 202 164 140 |  | lung middle lobe right
Trachea | 44567001 | anatomy | general | 182 228 255
Bronchus | 955009 | anatomy | dicom | 175 216 244 | sides
Mediastinum | 72410000 | anatomy | general | 255 244 209
Thymus | 9875009 | anatomy | general | 47 150 103
Breast | 76752008 | anatomy | dicom |  | sides
Heart | 80891009 | anatomy | general | 206 110 84
Left Ventricle | 87878005 | anatomy | general | 152 55 13 |  | left heart ventricle, heart ventricle left
Right Ventricle | 53085002 | anatomy | general | 181 85 57 |  | right heart ventricle, heart ventricle right
Left atrium | 82471001 | anatomy | dicom | 203 108 81 |  | left heart atrium, heart atrium left
Right atrium | 73829009 | anatomy | dicom | 210 115 89 |  | right heart atrium, heart atrium right
Interatrial septum | 58095006 | anatomy | general | 233 138 112
Interventricular septum | 589001 | anatomy | general | 195 100 73
Pericardium | 76848001 | anatomy | general | 255 244 209
Aortic Valve | 34202007 | anatomy | general | 218 123 97
Mitral Valve | 91134007 | anatomy | general | 159 63 27
Tricuspid Valve | 46030003 | anatomy | general | 166 70 38
Pulmonary valve | 39057004 | anatomy | general | 225 130 104
# Brain
Brain | 12738006 | anatomy | general | 250 250 225
Brain stem | 119238007 | anatomy | dicom |  |  | brainstem
Midbrain | 61962009 | anatomy | general | 145 92 109
Cerebellum | 113305005 | anatomy | dicom
Cerebellar white matter | 33060004 | anatomy | general | 194 195 164
Spinal cord | 2748008 | anatomy | general | 244 214 49
White Matter | 389080008 | anatomy | general | 250 250 210
Gray Matter | 389081007 | anatomy | general | 200 200 235
Cerebral White Matter | 68523003 | anatomy | general | 250 250 225
Cerebral cortex | 40146001 | anatomy | dicom | 128 174 128 | sides
Brain ventricle | 35764002 | anatomy | general | 88 106 215
Lateral ventricle | 66720007 | anatomy | general | 88 106 215 | sides
Third ventricle | 49841001 | anatomy | dicom
Fourth ventricle | 35918002 | anatomy | general | 88 106 215
Cerebrospinal Fluid | 65216001 | anatomy | dicom | 85 188 255 | sides | csf
Thalamus | 119406000 | anatomy | general | 122 101 38 | sides
Caudate nucleus | 11000004 | anatomy | general | 30 111 85 | sides | caudate
Putamen | 89278009 | anatomy | general | 210 157 166 | sides
Globus pallidus | 14738005 | anatomy | general | 48 129 126 | sides | pallidum
Nucleus accumbens | 427667007 | anatomy | dicom |  | sides | accumbens
Amygdala | 4958002 | anatomy | general | 98 153 112 | sides
Hippocampus | 5366008 | anatomy | dicom |  | sides
Hippocampus | 5366008 | anatomy | dicom |  | sides | anterior hippocampus, hippocampus anterior
Hippocampus | 5366008 | anatomy | dicom |  | sides | posterior hippocampus, hippocampus posterior
Hippocampus | 5366008 | anatomy | dicom |  | sides | hippocampus head, hippocampal head
Hippocampus | 5366008 | anatomy | dicom |  | sides | hippocampus body, hippocampal body
Hippocampus | 5366008 | anatomy | dicom |  | sides | hippocampus tail, hippocampal tail
Corpus callosum | 88442005 | anatomy | general | 97 113 158
Corpus striatum | 31428008 | anatomy | general | 177 140 190 | sides | striatum
Frontal lobe | 83251001 | anatomy | general | 83 146 164 | sides
Parietal lobe | 16630005 | anatomy | general | 141 93 137 | sides
Temporal lobe | 78277001 | anatomy | general | 162 115 105 | sides
Occipital lobe | 31065004 | anatomy | general | 182 166 110 | sides
Insula | 36169008 | anatomy | general | 188 135 166 | sides
Substantia nigra | 70007007 | anatomy | general | 0 108 112 | sides
Optic chiasm | 244453006 | anatomy | general | 99 106 24
Optic tract | 53238003 | anatomy | general | 156 171 108 | sides
Pituitary | 56329008 | anatomy | general | 57 157 110 |  | pituitary gland, hypophysis
Pineal Gland | 45793000 | anatomy | general | 253 135 192
# Head and neck
Eyeball | 79652003 | anatomy | general | 194 142 0 | sides | eye
Parotid gland | 45289007 | anatomy | dicom |  | sides | parotid
Submandibular gland | 54019009 | anatomy | dicom |  | sides
Salivary gland | 385294005 | anatomy | general | 70 163 117
Thyroid | 69748006 | anatomy | general | 62 162 114 |  | thyroid gland
Tongue | 21974007 | anatomy | general | 166 84 94
Larynx | 4596009 | anatomy | general | 150 208 243
Pharynx | 54066008 | anatomy | general | 184 105 108
Inner ear | 22945000 | anatomy | general | 229 147 118 | sides
# Bones
Skull | 89546000 | anatomy | general | 241 213 144
Mandible | 91609006 | anatomy | general | 222 198 101
Maxilla | 70925003 | anatomy | general | 196 172 68
Clavicle | 51299004 | anatomy | general | 205 179 108 | sides
Scapula | 79601000 | anatomy | dicom |  | sides
Sternum | 56873002 | anatomy | general | 244 217 154
Rib | 113197003 | anatomy | general | 253 232 158 |  | ribs
Spine | 421060004 | anatomy | dicom
Cervical spine | 122494005 | anatomy | general | 255 255 207
Thoracic spine | 122495006 | anatomy | general | 226 202 134
Lumbar spine | 122496007 | anatomy | general | 212 188 102
Vertebra | 51282000 | anatomy | dicom |  |  | vertebrae
Sacrum | 54735007 | anatomy | dicom
Ilium | 22356005 | anatomy | dicom |  | sides
Humerus | 85050009 | anatomy | dicom |  | sides
Femur | 71341001 | anatomy | dicom |  | sides
Patella | 64234005 | anatomy | dicom |  | sides
Fibula | 87342007 | anatomy | dicom |  | sides
# Vessels
Aorta | 15825003 | anatomy | general | 224 97 76
Ascending aorta | 54247002 | anatomy | dicom
Thoracic aorta | 113262008 | anatomy | dicom
Abdominal aorta | 7832008 | anatomy | dicom
Pulmonary artery | 81040000 | anatomy | dicom | 0 122 171 | sides
Pulmonary vein | 122972007 | anatomy | dicom | 186 77 64 | sides
Superior vena cava | 48345005 | anatomy | dicom |  |  | svc
Inferior vena cava | 64131007 | anatomy | dicom |  |  | ivc, postcava
Portal vein | 32764006 | anatomy | dicom |  | sides
Hepatic vein | 8993003 | anatomy | dicom |  | sides
Hepatic artery | 76015000 | anatomy | dicom |  | sides
Splenic vein | 35819009 | anatomy | dicom
Splenic artery | 22083002 | anatomy | dicom
Renal artery | 2841007 | anatomy | dicom |  | sides
Renal vein | 56400007 | anatomy | dicom |  | sides
Superior mesenteric artery | 42258001 | anatomy | dicom
Coronary artery | 41801008 | anatomy | dicom |  | sides
Common carotid artery | 32062004 | anatomy | dicom |  | sides
Internal carotid artery | 86117002 | anatomy | dicom |  | sides
Common iliac artery | 73634005 | anatomy | dicom |  | sides
Common iliac vein | 46027005 | anatomy | dicom |  | sides
# Tissues
Artery | 51114001 | tissue | general | 216 101 79 |  | arteries
Vein | 29092000 | tissue | general | 0 151 206 |  | veins
Blood vessel | 59820001 | tissue | dicom |  |  | vessel, vessels, blood vessels
Bone | 272673000 | tissue | general | 241 214 145 |  | bones
Muscle | 71616004 | tissue | general | 192 104 88 |  | muscles
Body fat | 248300009 | tissue | general | 230 220 70 |  | fat
Skin | 39937001 | tissue | general | 177 122 101
Cartilage | 309312004 | tissue | general | 111 184 210
Lymph node | 59441001 | tissue | general | 68 172 100 |  | lymph nodes
Nerve | 119410002 | tissue | general | 244 214 49 |  | nerves
Scar tissue | 12402003 | tissue | dicom |  |  | scar
Tissue | 85756007 | tissue | general | 128 174 128
# Lesions
Neoplasm | 108369006 | altered | dicom |  |  | tumor, tumors, neoplasms, whole tumor, tumor core, enhancing tumor
Neoplasm, Primary | 86049000 | altered | dicom |  |  | primary tumor
Neoplasm, Secondary | 14799000 | altered | dicom |  |  | metastasis, metastases
Lesion | 52988006 | altered | dicom |  |  | lesions, stroke lesion, white matter lesion
Mass | 4147007 | altered | general | 144 238 144
Nodule | 27925004 | altered | dicom
Cyst | 367643001 | altered | general | 205 205 100 |  | cysts
Edema | 79654002 | altered | general | 140 224 228 |  | peritumoral edema
Necrosis | 6574001 | altered | general | 216 191 216 |  | necrotic core, necrotic tumor core
Hemorrhage | 50960005 | altered | general | 188 65 28
Blood clot | 75753009 | altered | general | 145 60 66
Abscess | 44132006 | altered | dicom
Inflammation | 23583003 | altered | dicom
"""
"""One a line, columns parted by |: the code's meaning; the code; its category; the list; the recommended colour, each
part 0..255, where there is one; whether it has a left and a right; other names.
"""
